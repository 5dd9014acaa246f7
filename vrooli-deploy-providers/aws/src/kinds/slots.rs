//! What the kinds have in common that are slots of a place where releases run.

use vrooli_deploy_core::provider::Permission;

/// What the names of the two slots of a place end with; keys, too, and the names of their target groups.
pub(crate) const COLOURS: [&str; 2] = ["blue", "green"];

/// What a release takes, whatever it runs in, of what IAM knows no resources for, or what is described.
const RELEASES: &[&str] = &[
    "elasticloadbalancing:DescribeListeners",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeRules",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
    "elasticloadbalancing:ModifyListener",
    "elasticloadbalancing:ModifyRule",
    "logs:DescribeLogStreams",
    "logs:GetLogEvents",
    "secretsmanager:ListSecrets",
];

/// What it does with values of secrets, which have names of their own beside those of resources.
const VALUES: &[&str] = &[
    "secretsmanager:CreateSecret",
    "secretsmanager:DeleteSecret",
    "secretsmanager:DescribeSecret",
    // A lost state has them back.
    "secretsmanager:GetSecretValue",
    "secretsmanager:PutSecretValue",
    "secretsmanager:TagResource",
    // With a key of one's own that was asked for later.
    "secretsmanager:UpdateSecret",
];

/// The name of a place: that of a slot without its colour.
pub(crate) fn place(name: &str) -> &str {
    let without = |colour: &&str| name.strip_suffix(*colour)?.strip_suffix('-');
    COLOURS.iter().find_map(without).unwrap_or(name)
}

/// Rights to something.
pub(super) fn rights<'a>(actions: &'a [&'a str], resource: &'a str) -> impl Iterator<Item = Permission> + 'a {
    actions
        .iter()
        .map(move |action| Permission { action: (*action).to_owned(), resource: resource.to_owned() })
}

/// What releases come and go with: what carries them has no resource of its own.
pub(super) fn releases(region: &str) -> Vec<Permission> {
    let values = format!("arn:aws:secretsmanager:{region}:*:secret:*/values/*");
    rights(RELEASES, "*").chain(rights(VALUES, &values)).collect()
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn slots_of_a_place_have_its_name() {
        assert_eq!((place("shop-app-blue"), place("shop-app-green")), ("shop-app", "shop-app"));
        assert_eq!(place("evergreen"), "evergreen");
    }
}
