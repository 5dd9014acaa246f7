use libtest_mimic::Trial;
pub fn trials() -> Vec<Trial> {
    vec![]
}
pub fn child(_: &[String]) -> i32 {
    0
}
