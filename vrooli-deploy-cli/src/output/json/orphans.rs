use schemars::JsonSchema;
use serde::Serialize;
use vrooli_deploy_core::workspace::Orphan;

use crate::output::word;

/// An object that bears our marks and is in no stack of the workspace.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct OrphanLine {
    /// Who has it.
    pub(crate) provider: String,
    /// Its stack by its marks, `<app>/<environment>`; null where it has none.
    pub(crate) stack: Option<String>,
    /// Does this workspace have that stack?
    pub(crate) stack_known: bool,
    /// Its key in the stack by its marks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// Its kind; null where no kind makes such a thing.
    pub(crate) kind: Option<String>,
    /// What the provider calls it.
    pub(crate) id: String,
    /// Where it is; null: in no region.
    pub(crate) region: Option<String>,
    /// When it was made; null where the provider does not tell it.
    pub(crate) since: Option<String>,
    /// The id of the state that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
    /// Whose that is: `this`, `another` or `unknown`.
    pub(crate) whose: String,
    /// What it costs a month in US dollars, without what is billed by use; null: not known.
    pub(crate) monthly_usd: Option<String>,
    /// What of its cost is not known, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cost_note: Option<String>,
    /// May it hold data?
    pub(crate) may_hold_data: bool,
    /// Can it be read, and so deleted, as its kind?
    pub(crate) readable: bool,
}

impl From<&Orphan> for OrphanLine {
    fn from(orphan: &Orphan) -> Self {
        Self {
            provider: orphan.provider.to_string(),
            stack: orphan.stack.as_ref().map(ToString::to_string),
            stack_known: orphan.stack_known,
            key: orphan.key.as_ref().map(ToString::to_string),
            kind: orphan.kind.as_ref().map(ToString::to_string),
            id: orphan.id.to_string(),
            region: orphan.region.clone(),
            since: orphan.since.map(|since| since.to_string()),
            owner: orphan.owner.map(|owner| owner.to_string()),
            whose: word(&orphan.whose),
            monthly_usd: orphan.monthly.map(|money| money.to_string()),
            cost_note: orphan.cost_note.clone(),
            may_hold_data: orphan.may_hold_data,
            readable: orphan.readable,
        }
    }
}
