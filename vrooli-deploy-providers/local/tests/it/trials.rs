/// Makes `trials()` of the functions of a module.
macro_rules! trials {
    ($module:literal: $($name:ident),* $(,)?) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$(libtest_mimic::Trial::test(concat!($module, "::", stringify!($name)), || { $name(); Ok(()) })),*]
        }
    };
}
