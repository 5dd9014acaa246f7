use super::*;

#[test]
fn rules_have_names_of_their_own() {
    let mut names: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
    for upstream in [
        "fitness_threshold",
        "secret_completeness",
        "licensing",
        "resource_limits",
        "platform_requirements",
        "dependency_compatibility",
    ] {
        assert!(names.contains(&upstream), "{upstream}");
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), RULES.len());
}

#[test]
fn a_check_is_as_bad_as_the_worst_that_it_found() {
    let found = |severity| Finding::new(Diagnostic::new(rules::COUNT, severity, "m"), "");
    assert_eq!(found(Severity::Error).status(), CheckStatus::Fail);
    assert_eq!(found(Severity::Warning).status(), CheckStatus::Warn);
    assert_eq!(found(Severity::Info).status(), CheckStatus::Pass);
}
