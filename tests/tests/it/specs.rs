//! Documents that tests hold to what is true.
