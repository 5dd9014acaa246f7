//! Lines of containers, from CloudWatch Logs: a stream each, `r12/<service>/<task or machine>`.

use std::collections::BTreeMap;

use vrooli_deploy_core::names::{ReleaseNumber, ServiceName, UnitId};
use vrooli_deploy_core::provider::{LogLine, LogPage, LogQuery, OpCtx, Result};

use super::AwsFleet;
use super::carrier::{Carrier, Slot};
use crate::native::Calls;

/// A stream, and whose it is.
struct Stream {
    name: String,
    release: ReleaseNumber,
    unit: UnitId,
}

/// Streams of a release, those that began first first.
async fn streams(at: &Calls<'_>, group: &str, release: ReleaseNumber) -> Result<Vec<Stream>> {
    let ask = |next| {
        let ask = at.region.logs.describe_log_streams().log_group_name(group);
        ask.log_stream_name_prefix(format!("{release}/")).set_next_token(next).send()
    };
    let pages = at.pages("logs:DescribeLogStreams", ask, |page| page.next_token.clone()).await;
    let pages =
        crate::native::accept(pages, vrooli_deploy_core::provider::ErrorKind::NotFound)?.unwrap_or_default();
    let mut found: Vec<(i64, String)> = pages
        .iter()
        .flat_map(|page| page.log_streams())
        .filter_map(|one| Some((one.creation_time().unwrap_or(0), one.log_stream_name()?.to_owned())))
        .collect();
    found.sort();
    let mut counts: BTreeMap<ServiceName, u32> = BTreeMap::new();
    let mut all = Vec::new();
    for (_, name) in found {
        let Some(service) = name.split('/').nth(1).and_then(|word| ServiceName::new(word).ok()) else {
            continue;
        };
        let count = counts.entry(service.clone()).or_default();
        all.push(Stream { name, release, unit: UnitId { service, index: *count } });
        *count += 1;
    }
    Ok(all)
}

impl<C: Carrier> AwsFleet<C> {
    pub(super) async fn read_logs(&self, cx: &OpCtx, query: &LogQuery) -> Result<LogPage> {
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        let mut releases = Vec::new();
        match query.release {
            Some(release) => releases.push(release),
            None => {
                for place in &site.places {
                    releases.extend(self.carrier.slots(&at, place).await?.iter().filter_map(Slot::runs));
                }
                releases.sort();
                releases.dedup();
            }
        }
        let mut page = LogPage::default();
        let mut lines: Vec<(i64, LogLine)> = Vec::new();
        for release in releases {
            for stream in streams(&at, &site.logs, release).await? {
                if query.service.as_ref().is_some_and(|service| *service != stream.unit.service) {
                    continue;
                }
                let from = query.after.as_ref().map(|after| after.0.get(&stream.name).copied().unwrap_or(0));
                let read = self.stream(&at, &site.logs, &stream, query.lines, from).await?;
                let last =
                    read.iter().map(|(time, _)| *time).max().and_then(|time| u64::try_from(time + 1).ok());
                if let Some(next) = last.or(from) {
                    page.next.0.insert(stream.name.clone(), next);
                }
                lines.extend(read);
            }
        }
        // Those of one stream stay in their order.
        lines.sort_by_key(|(time, _)| *time);
        page.lines = lines.into_iter().map(|(_, line)| line).collect();
        Ok(page)
    }

    /// Lines with their times, in milliseconds.
    async fn stream(
        &self,
        at: &Calls<'_>,
        group: &str,
        stream: &Stream,
        lines: usize,
        from: Option<u64>,
    ) -> Result<Vec<(i64, LogLine)>> {
        let ask = at.region.logs.get_log_events().log_group_name(group).log_stream_name(&stream.name);
        let ask = match from {
            Some(from) => ask.start_from_head(true).start_time(i64::try_from(from).unwrap_or(i64::MAX)),
            None => {
                ask.start_from_head(false).limit(i32::try_from(lines.clamp(1, 10_000)).unwrap_or(i32::MAX))
            }
        };
        let answer = at.find("logs:GetLogEvents", ask.send()).await?;
        let events = answer.and_then(|answer| answer.events).unwrap_or_default();
        let line = |text: &str| LogLine {
            release: stream.release,
            unit: stream.unit.clone(),
            line: text.to_owned(),
        };
        Ok(events
            .iter()
            .filter_map(|event| Some((event.timestamp().unwrap_or(0), line(event.message()?))))
            .collect())
    }

    /// The last lines of a service of a release.
    pub(super) async fn last_lines(
        &self,
        cx: &OpCtx,
        release: ReleaseNumber,
        service: &ServiceName,
        lines: usize,
    ) -> Result<Vec<String>> {
        let query = LogQuery { release: Some(release), service: Some(service.clone()), lines, after: None };
        let page = self.read_logs(cx, &query).await?;
        let all: Vec<String> = page.lines.into_iter().map(|line| line.line).collect();
        Ok(all.iter().skip(all.len().saturating_sub(lines)).cloned().collect())
    }
}
