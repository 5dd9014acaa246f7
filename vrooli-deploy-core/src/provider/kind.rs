use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::capabilities::{CreateToken, KindSupport};
use super::context::OpCtx;
use super::error::{ErrorKind, ProviderError, Result};
use crate::cost::BillItem;
use crate::names::{OutputName, ResourceKey, ResourceKind, StackId};
use crate::secrets::{Secret, SecretRef};
use crate::stack::Input;

/// What may stand in a spec.
pub trait Field:
    Debug + Clone + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static
{
}

impl<T> Field for T where
    T: Debug + Clone + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static
{
}

/// The form of a spec: [`Wanted`] (fields may be references) or [`Known`] (values only).
pub trait Form: Debug + Clone + PartialEq + JsonSchema + Send + Sync + 'static {
    /// A field that may be a reference in the wanted form.
    type In<T: Field>: Field;
}

/// A spec as planned: fields may refer to outputs of other resources.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
pub enum Wanted {}

/// A spec as handed to a handler: every reference is resolved.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
pub enum Known {}

impl Form for Wanted {
    type In<T: Field> = Input<T>;
}

impl Form for Known {
    type In<T: Field> = T;
}

/// What the provider calls an object: an ARN, a path, a number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PhysicalId(pub String);

impl std::fmt::Display for PhysicalId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// How what is wanted differs from what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "change", content = "fields")]
pub enum Change {
    /// Not at all.
    None,
    /// These fields, and they can be changed.
    InPlace(Vec<String>),
    /// These fields, and the object must be made anew.
    Replace(Vec<String>),
}

/// Collects differing fields without a macro.
#[derive(Debug, Default)]
pub struct Diff {
    update: Vec<String>,
    replace: Vec<String>,
}

impl Diff {
    /// Nothing differs yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A field that can be changed in place.
    #[must_use]
    pub fn update(mut self, field: &str, differs: bool) -> Self {
        if differs {
            self.update.push(field.to_owned());
        }
        self
    }

    /// A field that cannot.
    #[must_use]
    pub fn replace(mut self, field: &str, differs: bool) -> Self {
        if differs {
            self.replace.push(field.to_owned());
        }
        self
    }

    /// The change.
    #[must_use]
    pub fn done(self) -> Change {
        if !self.replace.is_empty() {
            Change::Replace(self.replace)
        } else if !self.update.is_empty() {
            Change::InPlace(self.update)
        } else {
            Change::None
        }
    }
}

/// An operation on a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Look one up.
    Find,
    /// Look all up.
    List,
    /// Make it.
    Create,
    /// Change it.
    Update,
    /// Remove it.
    Delete,
}

/// A right that an operation needs, in the provider's own terms.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Permission {
    /// `ec2:CreateVpc`, `write <folder>`.
    pub action: String,
    /// On what.
    pub resource: String,
}

/// What ties an object to its stack (P10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ownership {
    /// Marks on the object itself.
    Tags,
    /// A name derived from stack and key.
    DerivedName(String),
    /// It lives and dies with another resource.
    ChildOf(ResourceKey),
    /// A record that the host keeps.
    HostLedger,
}

/// An output of a resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OutputValue {
    /// A secret, by reference.
    Secret(SecretRef),
    /// A plain value.
    Plain(Value),
}

/// Outputs by name. Secret ones as references.
pub type Outputs = BTreeMap<OutputName, OutputValue>;

/// An object that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found<T> {
    /// Its key, read from its ownership marks.
    pub key: ResourceKey,
    /// What the provider calls it.
    pub id: PhysicalId,
    /// What was seen. Holds no secret (P7).
    pub observed: T,
    /// The token it was made with, where marks tell.
    pub token: Option<super::context::OpToken>,
}

/// What a create returns (P5).
#[derive(Debug)]
pub enum Created<T> {
    /// Made (or found) and read back.
    Read {
        /// What the provider calls it.
        id: PhysicalId,
        /// What was seen.
        observed: T,
        /// Secret outputs; the engine stores them before it journals success.
        secrets: BTreeMap<OutputName, Secret<String>>,
    },
    /// Made, but reading it back failed: the engine reads it again.
    Unread {
        /// What the provider calls it.
        id: PhysicalId,
        /// Secret outputs, shown only once.
        secrets: BTreeMap<OutputName, Secret<String>>,
    },
}

/// What to observe: one stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The stack.
    pub stack: StackId,
    /// Where to go on, from [`Page::next`].
    pub page: Option<String>,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// What was found.
    pub items: Vec<Found<T>>,
    /// How to get the next page.
    pub next: Option<String>,
}

/// The pure half of a kind: spec, diff, bill, permissions. Always compiled, no SDK.
pub trait ResourceKindDef: Debug + Send + Sync + 'static {
    /// What is wanted.
    type Spec<F: Form>: Field;
    /// What is seen; can hold no secret.
    type Observed: Field;
    /// The kind's name.
    fn kind(&self) -> ResourceKind;
    /// Names of its outputs, those that are secret included.
    fn output_names(&self) -> &'static [&'static str];
    /// How what is wanted differs from what is there.
    fn diff(&self, want: &Self::Spec<Wanted>, have: &Self::Observed) -> Change;
    /// What it costs.
    fn bill(&self, want: &Self::Spec<Wanted>) -> Vec<BillItem>;
    /// What rights an operation needs.
    fn permissions(&self, op: Op, want: &Self::Spec<Wanted>) -> Vec<Permission>;
    /// What ties the object to its stack.
    fn ownership(&self, key: &ResourceKey, want: &Self::Spec<Wanted>) -> Ownership;
    /// Plain outputs of what was seen.
    fn outputs(&self, id: &PhysicalId, have: &Self::Observed) -> BTreeMap<OutputName, Value>;
    /// Does it run the app itself, so that it is nothing without a release? What the app stands on
    /// does not.
    fn runs_app(&self) -> bool {
        false
    }
    /// May a create begin on data that an earlier stack left on purpose, under the same name? Then what a
    /// refused create began is left and told; else it is deleted, as nobody could use half an object.
    fn takes_up_data(&self) -> bool {
        false
    }
    /// May it hold data of the app, so that it is deleted only if somebody says so? Asked where no
    /// manifest tells, so whoever does not know says yes.
    fn may_hold_data(&self) -> bool {
        true
    }
    /// What would have to be wanted for this to be there, as far as its price depends on it. For kinds
    /// whose spec has fields that nothing seen tells; of others core knows it by their names.
    fn wanted_as(&self, _: &Self::Observed) -> Option<Self::Spec<Wanted>> {
        None
    }
}

/// A kind that is another one with calls: its pure half is that of the kind that it holds.
pub trait WrapsKind: Debug + Send + Sync + 'static {
    /// The kind that it holds.
    type Kind: ResourceKindDef;
    /// The kind that it holds.
    fn kind_def(&self) -> &Self::Kind;
}

impl<W: WrapsKind> ResourceKindDef for W {
    type Spec<F: Form> = <W::Kind as ResourceKindDef>::Spec<F>;
    type Observed = <W::Kind as ResourceKindDef>::Observed;

    fn kind(&self) -> ResourceKind {
        ResourceKindDef::kind(self.kind_def())
    }
    fn output_names(&self) -> &'static [&'static str] {
        ResourceKindDef::output_names(self.kind_def())
    }
    fn diff(&self, want: &Self::Spec<Wanted>, have: &Self::Observed) -> Change {
        ResourceKindDef::diff(self.kind_def(), want, have)
    }
    fn bill(&self, want: &Self::Spec<Wanted>) -> Vec<BillItem> {
        ResourceKindDef::bill(self.kind_def(), want)
    }
    fn permissions(&self, op: Op, want: &Self::Spec<Wanted>) -> Vec<Permission> {
        ResourceKindDef::permissions(self.kind_def(), op, want)
    }
    fn ownership(&self, key: &ResourceKey, want: &Self::Spec<Wanted>) -> Ownership {
        ResourceKindDef::ownership(self.kind_def(), key, want)
    }
    fn outputs(&self, id: &PhysicalId, have: &Self::Observed) -> BTreeMap<OutputName, Value> {
        ResourceKindDef::outputs(self.kind_def(), id, have)
    }
    fn runs_app(&self) -> bool {
        ResourceKindDef::runs_app(self.kind_def())
    }
    fn takes_up_data(&self) -> bool {
        ResourceKindDef::takes_up_data(self.kind_def())
    }
    fn may_hold_data(&self) -> bool {
        ResourceKindDef::may_hold_data(self.kind_def())
    }
    fn wanted_as(&self, have: &Self::Observed) -> Option<Self::Spec<Wanted>> {
        ResourceKindDef::wanted_as(self.kind_def(), have)
    }
}

/// The native half of a kind: the calls. Authors write plain `async fn`.
pub trait ResourceHandler: ResourceKindDef {
    /// What makes the calls.
    type Client: Debug + Send + Sync + 'static;
    /// What keeps a create from happening twice.
    fn create_token(&self) -> CreateToken;
    /// How long a lost create may still land.
    fn settle(&self) -> Duration;
    /// Looks one up by id or by ownership. Never guesses: not sure is an error (P2).
    fn find(
        &self,
        client: &Self::Client,
        cx: &OpCtx,
        key: &ResourceKey,
        id: Option<&PhysicalId>,
    ) -> impl Future<Output = Result<Vec<Found<Self::Observed>>>> + Send;
    /// Lists all objects of this kind in the scope, a page at a time (P11).
    fn list(
        &self,
        client: &Self::Client,
        cx: &OpCtx,
        scope: &Scope,
    ) -> impl Future<Output = Result<Page<Self::Observed>>> + Send;
    /// Makes it, or finds the one made with the same token (P1).
    fn create(
        &self,
        client: &Self::Client,
        cx: &OpCtx,
        key: &ResourceKey,
        want: &Self::Spec<Known>,
    ) -> impl Future<Output = Result<Created<Self::Observed>>> + Send;
    /// Changes it.
    fn update(
        &self,
        client: &Self::Client,
        cx: &OpCtx,
        key: &ResourceKey,
        id: &PhysicalId,
        have: &Self::Observed,
        want: &Self::Spec<Known>,
    ) -> impl Future<Output = Result<Created<Self::Observed>>> + Send;
    /// Removes it. What is not there is `Ok` (P3).
    fn delete(
        &self,
        client: &Self::Client,
        cx: &OpCtx,
        key: &ResourceKey,
        id: &PhysicalId,
    ) -> impl Future<Output = Result<()>> + Send;
}

fn read<T: DeserializeOwned>(kind: &ResourceKind, what: &str, value: &Value) -> Result<T> {
    T::deserialize(value).map_err(|e| {
        ProviderError::new(ErrorKind::Unexpected, format!("{what} of `{kind}` does not fit its type: {e}"))
    })
}

fn write<T: Serialize>(kind: &ResourceKind, what: &str, value: &T) -> Result<Value> {
    serde_json::to_value(value).map_err(|e| {
        ProviderError::new(ErrorKind::Unexpected, format!("{what} of `{kind}` cannot be written: {e}"))
    })
}

/// A kind with its types erased: JSON in and out.
pub trait AnyKind: Debug + Send + Sync {
    /// The kind's name.
    fn kind(&self) -> ResourceKind;
    /// JSON schema of the wanted spec.
    fn schema(&self) -> schemars::Schema;
    /// Names of its outputs.
    fn output_names(&self) -> &'static [&'static str];
    /// Checks that a spec fits, before any call (P8).
    ///
    /// # Errors
    /// What does not fit.
    fn check(&self, want: &Value) -> Result<()>;
    /// How what is wanted differs from what is there.
    ///
    /// # Errors
    /// When either does not fit its type.
    fn diff(&self, want: &Value, have: &Value) -> Result<Change>;
    /// What it costs.
    ///
    /// # Errors
    /// When the spec does not fit.
    fn bill(&self, want: &Value) -> Result<Vec<BillItem>>;
    /// What rights an operation needs.
    ///
    /// # Errors
    /// When the spec does not fit.
    fn permissions(&self, op: Op, want: &Value) -> Result<Vec<Permission>>;
    /// What ties the object to its stack.
    ///
    /// # Errors
    /// When the spec does not fit.
    fn ownership(&self, key: &ResourceKey, want: &Value) -> Result<Ownership>;
    /// Plain outputs of what was seen.
    ///
    /// # Errors
    /// When what was seen does not fit.
    fn outputs(&self, id: &PhysicalId, have: &Value) -> Result<Outputs>;
    /// Does it run the app itself, so that it is nothing without a release?
    fn runs_app(&self) -> bool;
    /// May a create begin on data that an earlier stack left on purpose?
    fn takes_up_data(&self) -> bool;
    /// May it hold data of the app?
    fn may_hold_data(&self) -> bool;
    /// What an object costs that nothing is known of but what is seen. `None`: that cannot be said.
    ///
    /// # Errors
    /// When what was seen does not fit.
    fn bill_of(&self, have: &Value) -> Result<Option<Vec<BillItem>>>;
}

impl<K: ResourceKindDef> AnyKind for K {
    fn kind(&self) -> ResourceKind {
        ResourceKindDef::kind(self)
    }
    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(K::Spec<Wanted>)
    }
    fn output_names(&self) -> &'static [&'static str] {
        ResourceKindDef::output_names(self)
    }
    fn check(&self, want: &Value) -> Result<()> {
        let kind = ResourceKindDef::kind(self);
        K::Spec::<Wanted>::deserialize(want).map(drop).map_err(|e| {
            ProviderError::new(ErrorKind::Unsupported, format!("`{kind}` does not take this spec: {e}"))
        })
    }
    fn diff(&self, want: &Value, have: &Value) -> Result<Change> {
        let kind = ResourceKindDef::kind(self);
        Ok(ResourceKindDef::diff(
            self,
            &read(&kind, "the spec", want)?,
            &read(&kind, "the observation", have)?,
        ))
    }
    fn bill(&self, want: &Value) -> Result<Vec<BillItem>> {
        Ok(ResourceKindDef::bill(self, &read(&ResourceKindDef::kind(self), "the spec", want)?))
    }
    fn permissions(&self, op: Op, want: &Value) -> Result<Vec<Permission>> {
        Ok(ResourceKindDef::permissions(self, op, &read(&ResourceKindDef::kind(self), "the spec", want)?))
    }
    fn ownership(&self, key: &ResourceKey, want: &Value) -> Result<Ownership> {
        Ok(ResourceKindDef::ownership(self, key, &read(&ResourceKindDef::kind(self), "the spec", want)?))
    }
    fn outputs(&self, id: &PhysicalId, have: &Value) -> Result<Outputs> {
        let have = read(&ResourceKindDef::kind(self), "the observation", have)?;
        Ok(ResourceKindDef::outputs(self, id, &have)
            .into_iter()
            .map(|(name, value)| (name, OutputValue::Plain(value)))
            .collect())
    }
    fn runs_app(&self) -> bool {
        ResourceKindDef::runs_app(self)
    }
    fn takes_up_data(&self) -> bool {
        ResourceKindDef::takes_up_data(self)
    }
    fn may_hold_data(&self) -> bool {
        ResourceKindDef::may_hold_data(self)
    }
    fn bill_of(&self, have: &Value) -> Result<Option<Vec<BillItem>>> {
        let seen: K::Observed = read(&ResourceKindDef::kind(self), "the observation", have)?;
        let said = || K::Spec::<Wanted>::deserialize(&alike(&AnyKind::schema(self), have)).ok();
        let want = ResourceKindDef::wanted_as(self, &seen).or_else(said);
        // What is priced is what is there: a spec that asks for anything else is none of it.
        let want = want.filter(|want| ResourceKindDef::diff(self, want, &seen) == Change::None);
        Ok(want.map(|want| ResourceKindDef::bill(self, &want)))
    }
}

/// Of what was seen the fields that a spec has, too.
fn alike(spec: &schemars::Schema, have: &Value) -> Value {
    let fields = spec.get("properties").and_then(Value::as_object);
    let is_field = |name: &String| fields.is_some_and(|fields| fields.contains_key(name));
    let seen = have.as_object().into_iter().flatten();
    seen.filter(|(name, _)| is_field(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A handler with its types erased, bound to its client.
#[async_trait]
pub trait AnyHandler: Debug + Send + Sync {
    /// Its pure half.
    fn as_kind(&self) -> &dyn AnyKind;
    /// How well it is supported.
    fn support(&self) -> KindSupport;
    /// See [`ResourceHandler::find`].
    async fn find(&self, cx: &OpCtx, key: &ResourceKey, id: Option<&PhysicalId>)
    -> Result<Vec<Found<Value>>>;
    /// See [`ResourceHandler::list`].
    async fn list(&self, cx: &OpCtx, scope: &Scope) -> Result<Page<Value>>;
    /// See [`ResourceHandler::create`].
    async fn create(&self, cx: &OpCtx, key: &ResourceKey, want: &Value) -> Result<Created<Value>>;
    /// See [`ResourceHandler::update`].
    async fn update(
        &self,
        cx: &OpCtx,
        key: &ResourceKey,
        id: &PhysicalId,
        have: &Value,
        want: &Value,
    ) -> Result<Created<Value>>;
    /// See [`ResourceHandler::delete`].
    async fn delete(&self, cx: &OpCtx, key: &ResourceKey, id: &PhysicalId) -> Result<()>;
}

/// A handler and the client that makes its calls.
#[derive(Debug)]
pub(crate) struct Bound<H: ResourceHandler> {
    pub(crate) handler: H,
    pub(crate) client: std::sync::Arc<H::Client>,
}

fn erase<T: Serialize>(kind: &ResourceKind, found: Found<T>) -> Result<Found<Value>> {
    Ok(Found {
        observed: write(kind, "the observation", &found.observed)?,
        key: found.key,
        id: found.id,
        token: found.token,
    })
}

fn erase_created<T: Serialize>(kind: &ResourceKind, created: Created<T>) -> Result<Created<Value>> {
    Ok(match created {
        Created::Read { id, observed, secrets } => {
            Created::Read { observed: write(kind, "the observation", &observed)?, id, secrets }
        }
        Created::Unread { id, secrets } => Created::Unread { id, secrets },
    })
}

/// Reads `Spec<Known>`: a reference that is left is an error before any call.
fn known<H: ResourceHandler>(kind: &ResourceKind, want: &Value) -> Result<H::Spec<Known>> {
    H::Spec::<Known>::deserialize(want).map_err(|e| {
        ProviderError::new(
            ErrorKind::Unsupported,
            format!("`{kind}` cannot be given this spec (is a reference unresolved?): {e}"),
        )
    })
}

#[async_trait]
impl<H: ResourceHandler> AnyHandler for Bound<H> {
    fn as_kind(&self) -> &dyn AnyKind {
        &self.handler
    }
    fn support(&self) -> KindSupport {
        KindSupport { native: true, create_token: self.handler.create_token(), settle: self.handler.settle() }
    }
    async fn find(
        &self,
        cx: &OpCtx,
        key: &ResourceKey,
        id: Option<&PhysicalId>,
    ) -> Result<Vec<Found<Value>>> {
        let kind = ResourceKindDef::kind(&self.handler);
        let found = self.handler.find(&self.client, cx, key, id).await?;
        found.into_iter().map(|f| erase(&kind, f)).collect()
    }
    async fn list(&self, cx: &OpCtx, scope: &Scope) -> Result<Page<Value>> {
        let kind = ResourceKindDef::kind(&self.handler);
        let page = self.handler.list(&self.client, cx, scope).await?;
        Ok(Page {
            items: page.items.into_iter().map(|f| erase(&kind, f)).collect::<Result<_>>()?,
            next: page.next,
        })
    }
    async fn create(&self, cx: &OpCtx, key: &ResourceKey, want: &Value) -> Result<Created<Value>> {
        let kind = ResourceKindDef::kind(&self.handler);
        let want = known::<H>(&kind, want)?;
        erase_created(&kind, self.handler.create(&self.client, cx, key, &want).await?)
    }
    async fn update(
        &self,
        cx: &OpCtx,
        key: &ResourceKey,
        id: &PhysicalId,
        have: &Value,
        want: &Value,
    ) -> Result<Created<Value>> {
        let kind = ResourceKindDef::kind(&self.handler);
        let want = known::<H>(&kind, want)?;
        let have = read(&kind, "the observation", have)?;
        erase_created(&kind, self.handler.update(&self.client, cx, key, id, &have, &want).await?)
    }
    async fn delete(&self, cx: &OpCtx, key: &ResourceKey, id: &PhysicalId) -> Result<()> {
        self.handler.delete(&self.client, cx, key, id).await
    }
}
