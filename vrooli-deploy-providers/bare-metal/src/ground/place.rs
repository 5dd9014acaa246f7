use vrooli_deploy_core::names::{Digest, StackId};

/// The longest name that a user of Linux may have.
const LONGEST_USER: usize = 32;

/// Where a stack lives on its hosts, and what things of it are called there. Derived from its name
/// alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The stack in one word; neither half of it has a dot.
    pub(crate) name: String,
    /// The user that its services run as.
    pub(crate) user: String,
    /// Its folder.
    pub(crate) folder: String,
}

impl Place {
    pub(crate) fn of(stack: &StackId) -> Self {
        let name = format!("{}.{}", stack.app, stack.environment);
        let plain = format!("vd-{}", stack.app);
        // Told apart by its digest, so that no two stacks share a user.
        let user = if stack.environment.as_str() == "default" && plain.len() <= LONGEST_USER {
            plain
        } else {
            let digest = Digest::of(name.as_bytes());
            let digest = digest.short().get(..6).unwrap_or_default();
            let mut user = format!("{plain}-{}", stack.environment);
            user.truncate(LONGEST_USER - 7);
            format!("{}-{digest}", user.trim_end_matches('-'))
        };
        let folder = format!("/var/lib/vrooli-deploy/workspace/apps/{stack}");
        Self { name, user, folder }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(app: &str, environment: &str) -> Place {
        let stack = serde_json::from_value(serde_json::json!({ "app": app, "environment": environment }));
        Place::of(&stack.unwrap())
    }

    #[test]
    fn no_two_stacks_share_a_user_or_a_folder() {
        assert_eq!(place("shop", "default").user, "vd-shop");
        assert_eq!(place("shop", "default").folder, "/var/lib/vrooli-deploy/workspace/apps/shop/default");
        let long = "a".repeat(60);
        let all = [
            place("a-b", "default"),
            place("a", "b"),
            place("a-b", "c"),
            place("a", "b-c"),
            place(&long, "default"),
            place(&long, "staging"),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(one.user.len() <= 32, "{}", one.user);
            assert!(
                all[..at].iter().all(|other| other.user != one.user && other.folder != one.folder),
                "{all:?}"
            );
        }
    }
}
