use vrooli_deploy_core::provider::{Fleet as _, LogCursor, LogPage, LogQuery, OpCtx, Result};

use super::BareMetalFleet;
use super::app_host::AppHost;
use super::together::{all, each};

/// Between a server and the rest of a cursor's name; in no server's name.
const SPLIT: char = ' ';

impl BareMetalFleet {
    /// Lines of all servers, those of one after those of the other.
    pub(super) async fn read_logs(&self, cx: &OpCtx, query: &LogQuery) -> Result<LogPage> {
        let read = async |host: &AppHost| {
            let prefix = format!("{}{SPLIT}", host.name());
            let mut query = query.clone();
            query.after = query.after.map(|after| {
                let own = |(name, at): (String, u64)| Some((name.strip_prefix(&prefix)?.to_owned(), at));
                LogCursor(after.0.into_iter().filter_map(own).collect())
            });
            host.talk(cx).await?.fleet.logs(cx, &query).await
        };
        let several = self.hosts.len() > 1;
        let mut page = LogPage::default();
        for (host, read) in all(each(&self.hosts, read).await, |host| host.name())? {
            for mut line in read.lines {
                if several {
                    line.line = format!("{}: {}", host.name(), line.line);
                }
                page.lines.push(line);
            }
            page.next.0.extend(
                read.next.0.into_iter().map(|(name, at)| (format!("{}{SPLIT}{name}", host.name()), at)),
            );
        }
        Ok(page)
    }
}
