//! Marks of everything in a region that is the stack's, in one paginated call, asked once for all
//! kinds that are listed together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_resourcegroupstagging::types::{ResourceTagMapping, TagFilter};
use tokio::sync::Mutex;
use vrooli_deploy_core::provider::{AnyKind, Result};

use super::arn::Arn;
use super::marks::STACK;
use super::{Calls, Look, Marks, common_start, together};

/// So long one pass serves all operations, unless something is changed. One operation has one pass
/// however long it takes.
const FRESH: Duration = Duration::from_secs(2);
/// As many objects as a page may hold.
const PAGE: i32 = 100;
/// As many tags as a page may hold: each of ours has five and more.
const PAGE_TAGS: i32 = 500;

/// Tags of an object: names and values.
pub(super) type Pairs<'a> = &'a [(&'a str, &'a str)];

/// Marks by ARN.
#[derive(Debug, Default)]
pub(crate) struct Tagged(BTreeMap<String, Marks>);

impl Tagged {
    /// The marks of an object. ARNs of log groups come with and without `:*`.
    pub(crate) fn marks(&self, arn: &str) -> Option<&Marks> {
        self.0.get(arn.trim_end_matches(":*"))
    }

    /// ARNs of a service whose resource parts begin so.
    pub(crate) fn arns<'a>(&'a self, service: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.keys().map(String::as_str).filter(move |arn| {
            Arn::read(arn).is_some_and(|arn| arn.service == service && arn.resource.starts_with(start))
        })
    }

    /// Resource parts (`log-group:/shop/default`) of a service's ARNs that begin so.
    pub(crate) fn named<'a>(&'a self, service: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.keys().filter_map(move |arn| {
            let mut parts = arn.splitn(6, ':').skip(2);
            (parts.next() == Some(service)).then_some(())?;
            parts.nth(2)?.strip_prefix(start)
        })
    }
}

/// Objects that are looked for by their names: marks of the pass, and names whose objects are asked
/// for their own tags where the pass does not have them. AWS lists what was made with some delay.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    tagged: Arc<Tagged>,
    names: BTreeSet<String>,
}

impl Asked {
    /// One name, whatever a pass says.
    pub(crate) fn only(name: &str) -> Self {
        Self { names: BTreeSet::from([name.to_owned()]), ..Self::default() }
    }

    /// What all names begin with, those of a service's ARNs that begin so included; `None` where there
    /// is nothing to be looked for.
    pub(crate) fn start(&self, service: &str, start: &str) -> Option<String> {
        let tagged = self.tagged.named(service, start).map(str::to_owned);
        common_start(tagged.chain(self.names.iter().cloned()))
    }

    /// Those of several objects that have marks, with them. `named` gives ARN and name of one.
    pub(crate) async fn marked<T, F>(
        &self,
        all: Vec<T>,
        named: impl Fn(&T) -> Option<(String, String)> + Send,
        own: impl Fn(String) -> F + Send + Sync,
    ) -> Result<Vec<(T, Marks)>>
    where
        F: Future<Output = Result<Option<Marks>>> + Send,
        T: Send,
    {
        let own = &own;
        let asks = all.into_iter().filter_map(|one| {
            let (arn, name) = named(&one)?;
            Some(
                async move { Ok(self.marks(&arn, &name, own(arn.clone())).await?.map(|marks| (one, marks))) },
            )
        });
        let asks: Vec<_> = asks.collect();
        Ok(together(asks).await?.into_iter().flatten().collect())
    }

    /// The marks of an object. `own` asks for its own tags.
    pub(crate) async fn marks(
        &self,
        arn: &str,
        name: &str,
        own: impl Future<Output = Result<Option<Marks>>> + Send,
    ) -> Result<Option<Marks>> {
        match self.tagged.marks(arn) {
            Some(marks) => Ok(Some(marks.clone())),
            None if self.names.contains(name) => own.await,
            None => Ok(None),
        }
    }
}

#[derive(Debug)]
struct Pass {
    stack: String,
    at: Instant,
    /// That of the operation which it was made for: no two have the same.
    deadline: Instant,
    changes: u64,
    tagged: Arc<Tagged>,
}

/// The last pass of each region. Held while one is made: who comes meanwhile waits for it.
#[derive(Debug, Default)]
pub(super) struct TagCache(Mutex<BTreeMap<String, Arc<Mutex<Option<Pass>>>>>);

impl Calls<'_> {
    /// What is looked for of a kind whose specs have its name in a field.
    pub(crate) async fn asked(&self, kind: &dyn AnyKind, look: Look<'_>, field: &str) -> Result<Asked> {
        self.asked_for(self.account.named(kind, look, field)).await
    }

    /// The same by names that no spec has in a field.
    pub(crate) async fn asked_for(&self, names: BTreeSet<String>) -> Result<Asked> {
        Ok(Asked { tagged: self.tagged().await?, names })
    }

    /// Marks of all that is the stack's in the region.
    pub(crate) async fn tagged(&self) -> Result<Arc<Tagged>> {
        let slots = &self.account.tags.0;
        let slot = Arc::clone(slots.lock().await.entry(self.region.name.clone()).or_default());
        let mut slot = slot.lock().await;
        let stack = self.cx.stack.to_string();
        let changes = self.account.changes();
        if let Some(pass) = &*slot
            && pass.stack == stack
            && pass.changes == changes
            && (pass.at.elapsed() < FRESH || pass.deadline == self.cx.deadline)
        {
            return Ok(Arc::clone(&pass.tagged));
        }
        let at = Instant::now();
        let tagged = Arc::new(self.ask_for_tags(&stack).await?);
        let deadline = self.cx.deadline;
        *slot = Some(Pass { stack, at, deadline, changes, tagged: Arc::clone(&tagged) });
        Ok(tagged)
    }

    async fn ask_for_tags(&self, stack: &str) -> Result<Tagged> {
        let read = |arn: &str, tags: Pairs<'_>| {
            Some((arn.trim_end_matches(":*").to_owned(), Marks::read(tags.iter().copied())?))
        };
        Ok(Tagged(self.bearing(STACK, Some(stack), read).await?.into_iter().collect()))
    }

    /// What `read` makes of ARN and tags of everything in the region that bears a tag, with a value or any.
    pub(super) async fn bearing<T>(
        &self,
        tag: &str,
        value: Option<&str>,
        read: impl Fn(&str, Pairs<'_>) -> Option<T>,
    ) -> Result<Vec<T>> {
        let filter = TagFilter::builder().key(tag);
        let filter = filter.set_values(value.map(|value| vec![value.to_owned()])).build();
        let ask = |next| {
            let ask = self.region.tagging.get_resources().tag_filters(filter.clone());
            ask.resources_per_page(PAGE).tags_per_page(PAGE_TAGS).set_pagination_token(next).send()
        };
        let pages = self.pages("tag:GetResources", ask, |page| {
            page.pagination_token().filter(|token| !token.is_empty()).map(str::to_owned)
        });
        let pages = pages.await?;
        let found = pages.iter().flat_map(|page| page.resource_tag_mapping_list());
        let one = |found: &ResourceTagMapping| {
            let tags: Vec<_> = found.tags().iter().map(|tag| (tag.key(), tag.value())).collect();
            read(found.resource_arn()?, &tags)
        };
        Ok(found.filter_map(one).collect())
    }
}
