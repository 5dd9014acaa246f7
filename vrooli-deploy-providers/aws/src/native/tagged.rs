//! Marks of everything in a region that is the stack's, in one paginated call, asked once for all
//! kinds that are listed together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use vrooli_deploy_core::provider::{OpCtx, Result};

use super::marks::STACK;
use super::{Account, Marks, Regional};

/// So long one pass serves all kinds, unless something is changed.
const FRESH: Duration = Duration::from_secs(2);
/// As many as a page may hold.
const PAGE: i32 = 100;

/// Marks by ARN.
#[derive(Debug, Default)]
pub(crate) struct Tagged(BTreeMap<String, Marks>);

impl Tagged {
    /// The marks of an object. ARNs of log groups come with and without `:*`.
    pub(crate) fn marks(&self, arn: &str) -> Option<&Marks> {
        self.0.get(arn.trim_end_matches(":*"))
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

#[derive(Debug)]
struct Pass {
    stack: String,
    at: Instant,
    changes: u64,
    tagged: Arc<Tagged>,
}

/// The last pass of each region. Held while one is made: who comes meanwhile waits for it.
#[derive(Debug, Default)]
pub(super) struct TagCache(Mutex<BTreeMap<String, Arc<Mutex<Option<Pass>>>>>);

impl Account {
    /// Marks of all that is the stack's in a region. AWS lists what was made with some delay:
    /// what is known by its name is asked for its own tags, whatever this says.
    pub(crate) async fn tagged(&self, cx: &OpCtx, region: &Regional) -> Result<Arc<Tagged>> {
        let slot = Arc::clone(self.tags.0.lock().await.entry(region.name.clone()).or_default());
        let mut slot = slot.lock().await;
        let stack = cx.stack.to_string();
        let changes = self.changes();
        if let Some(pass) = &*slot
            && pass.stack == stack
            && pass.changes == changes
            && pass.at.elapsed() < FRESH
        {
            return Ok(Arc::clone(&pass.tagged));
        }
        let at = Instant::now();
        let tagged = Arc::new(self.ask_for_tags(cx, region, &stack).await?);
        *slot = Some(Pass { stack, at, changes, tagged: Arc::clone(&tagged) });
        Ok(tagged)
    }

    async fn ask_for_tags(&self, cx: &OpCtx, region: &Regional, stack: &str) -> Result<Tagged> {
        let filter =
            aws_sdk_resourcegroupstagging::types::TagFilter::builder().key(STACK).values(stack).build();
        let (mut all, mut next) = (BTreeMap::new(), None::<String>);
        loop {
            let ask = region
                .tagging
                .get_resources()
                .tag_filters(filter.clone())
                .resources_per_page(PAGE)
                .set_pagination_token(next.take());
            let page = self.read(cx, "tag:GetResources", ask.send()).await?;
            for found in page.resource_tag_mapping_list() {
                let tags = found.tags().iter().map(|tag| (tag.key(), tag.value()));
                if let (Some(arn), Some(marks)) = (found.resource_arn(), Marks::read(tags)) {
                    all.insert(arn.trim_end_matches(":*").to_owned(), marks);
                }
            }
            next = page.pagination_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                return Ok(Tagged(all));
            }
        }
    }
}
