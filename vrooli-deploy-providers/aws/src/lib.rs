mod bill;
pub mod kinds;
