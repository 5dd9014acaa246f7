//! Rights as policies of IAM. A managed policy may be so long and no longer, so there may be several.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use vrooli_deploy_core::provider::Permission;

/// The version of the language, not a date of ours.
const LANGUAGE: &str = "2012-10-17";

/// Policies that allow this and nothing else, each at most `limit` characters long (white space is
/// not counted). One that cannot be made shorter is left too long: IAM says so.
pub(crate) fn policies(permissions: &BTreeSet<Permission>, limit: usize) -> Vec<Value> {
    let mut documents = Vec::new();
    let mut statements: Vec<Value> = Vec::new();
    for (resources, actions) in statements_of(permissions) {
        for action in actions {
            let resource = match resources.as_slice() {
                [one] => json!(one),
                several => json!(several),
            };
            // An action goes to those on the same resources, where there is room for it.
            let mut longer = statements.clone();
            match longer.last_mut().filter(|last| last["Resource"] == resource) {
                Some(last) => {
                    if let Some(actions) = last["Action"].as_array_mut() {
                        actions.push(json!(action));
                    }
                }
                None => longer.push(json!({
                    "Effect": "Allow",
                    "Action": [action],
                    "Resource": resource,
                })),
            }
            if !statements.is_empty() && document(&longer).to_string().len() > limit {
                documents.push(document(&statements));
                longer = vec![json!({ "Effect": "Allow", "Action": [action], "Resource": resource })];
            }
            statements = longer;
        }
    }
    if !statements.is_empty() {
        documents.push(document(&statements));
    }
    documents
}

fn document(statements: &[Value]) -> Value {
    json!({ "Version": LANGUAGE, "Statement": statements })
}

/// Actions on the same resources together. What is allowed everywhere need not be allowed anywhere else.
fn statements_of(permissions: &BTreeSet<Permission>) -> BTreeMap<Vec<&str>, Vec<&str>> {
    let mut resources: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for permission in permissions {
        resources.entry(&permission.action).or_default().insert(&permission.resource);
    }
    let mut statements: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
    for (action, on) in resources {
        let on = if on.contains("*") { vec!["*"] } else { on.into_iter().collect() };
        statements.entry(on).or_default().push(action);
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(all: &[(&str, &str)]) -> BTreeSet<Permission> {
        let permission = |&(action, resource): &(&str, &str)| Permission {
            action: action.to_owned(),
            resource: resource.to_owned(),
        };
        all.iter().map(permission).collect()
    }

    #[test]
    fn actions_on_the_same_resources_are_one_statement() {
        let wanted = permissions(&[
            ("ec2:CreateVpc", "*"),
            ("ec2:DeleteVpc", "*"),
            ("iam:CreateRole", "arn:aws:iam::*:role/a"),
            ("iam:CreateRole", "arn:aws:iam::*:role/b"),
            ("s3:GetBucketTagging", "*"),
            ("s3:GetBucketTagging", "arn:aws:s3:::x*"),
        ]);
        let expected = json!({
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": ["ec2:CreateVpc", "ec2:DeleteVpc", "s3:GetBucketTagging"],
                    "Resource": "*",
                },
                {
                    "Effect": "Allow",
                    "Action": ["iam:CreateRole"],
                    "Resource": ["arn:aws:iam::*:role/a", "arn:aws:iam::*:role/b"],
                },
            ],
        });
        assert_eq!(policies(&wanted, 6144), [expected]);
        assert_eq!(policies(&BTreeSet::new(), 6144), [Value::Null; 0]);
    }

    #[test]
    fn none_is_longer_than_it_may_be_and_nothing_is_lost() {
        let names: Vec<String> = (0..200).map(|number| format!("service:Action{number:03}")).collect();
        let wanted: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "*")).collect();
        let wanted = permissions(&wanted);
        let all = policies(&wanted, 1000);
        assert!(all.len() > 3 && all.iter().all(|one| one.to_string().len() <= 1000));
        let actions: BTreeSet<String> = all
            .iter()
            .flat_map(|one| one["Statement"].as_array().unwrap())
            .flat_map(|statement| statement["Action"].as_array().unwrap())
            .map(|action| action.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(actions, names.into_iter().collect());
    }
}
