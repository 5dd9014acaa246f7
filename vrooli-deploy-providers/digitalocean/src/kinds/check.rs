//! What every kind's tests have in common.

use serde_json::Value;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{AnyKind, Change, Op, Ownership, PhysicalId};

/// How a difference in a field is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is changed in place.
    Update,
    /// The object is made anew.
    Replace,
    /// It is not the stack's to change, or only an identity.
    Nothing,
}

/// Checks a kind against a spec and what is seen of an object made from it: they do not
/// differ (P9), and each field of what is seen, changed to the value given, gives the answer
/// given. A field without an answer fails the test.
pub(crate) fn check(kind: &dyn AnyKind, want: &Value, have: &Value, answers: &[(&str, Value, Answer)]) {
    kind.check(want).unwrap();
    assert_eq!(kind.diff(want, have).unwrap(), Change::None, "what was made from the spec fits it");
    for field in have.as_object().unwrap().keys() {
        assert!(answers.iter().any(|(name, ..)| name == field), "no answer for `{field}`");
    }
    for (field, value, answer) in answers {
        let mut other = have.clone();
        let before = other[*field].take();
        assert_ne!(before, *value, "`{field}` is changed");
        other[*field] = value.clone();
        let expected = match answer {
            Answer::Update => Change::InPlace(vec![(*field).to_owned()]),
            Answer::Replace => Change::Replace(vec![(*field).to_owned()]),
            Answer::Nothing => Change::None,
        };
        assert_eq!(kind.diff(want, &other).unwrap(), expected, "`{field}`");
    }
    for op in [Op::Find, Op::List, Op::Create, Op::Delete] {
        let permissions = kind.permissions(op, want).unwrap();
        assert!(!permissions.is_empty(), "{op:?}");
        assert!(permissions.iter().all(|permission| permission.action.contains(':')));
    }
    let plain = kind.outputs(&PhysicalId("arn:aws:x:::id".to_owned()), have).unwrap();
    for name in plain.keys() {
        assert!(kind.output_names().contains(&name.as_str()), "`{name}` is not announced");
    }
    let key = ResourceKey::new("a/b").unwrap();
    if let Ownership::DerivedName(name) = kind.ownership(&key, want).unwrap() {
        assert!(!name.is_empty());
    }
    for item in kind.bill(want).unwrap() {
        assert_eq!(item.price.provider, "digitalocean");
        assert!(!item.what.is_empty());
    }
    let mut unknown = want.clone();
    unknown["no_such_field"] = Value::Bool(true);
    assert!(kind.check(&unknown).is_err(), "an unknown field is refused");
}
