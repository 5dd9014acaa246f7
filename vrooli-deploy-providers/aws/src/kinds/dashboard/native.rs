//! `PutDashboard` takes no tags and writes over a dashboard that is there, whoever made it: so it is
//! looked at first, and its marks stand in a text of its own at the end of the page.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, PhysicalId, ProviderError, Result};

use super::{Dashboard, DashboardObserved, DashboardSpec, Figure, Graph};
use crate::native::{Calls, Look, Marks, Native, Seen, name_taken, together, unexpected};

/// A page is so wide; two graphs stand in a row.
const WIDTH: usize = 24;
const GRAPH_WIDTH: usize = 12;
const GRAPH_HEIGHT: usize = 6;
const TEXT_HEIGHT: usize = 2;
/// Figures are shown by the minute.
const PERIOD_SECONDS: u32 = 60;
/// What the text with the marks begins with.
const KEPT: &str = "Kept by vrooli-deploy: what is changed here by hand is put back by the next deployment.";

fn name_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or_default()
}

/// Marks as a text: a word each.
fn written<'a>(marks: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let words = marks.into_iter().map(|(name, value)| format!("`{name}={value}`"));
    format!("{KEPT} {}", words.collect::<Vec<_>>().join(" "))
}

/// The marks of such a text.
fn read(text: &str) -> Option<BTreeMap<String, String>> {
    let words = text.strip_prefix(KEPT)?.split_whitespace();
    let pair = |word: &str| {
        let (name, value) = word.trim_matches('`').split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    Some(words.filter_map(pair).collect())
}

fn line(figure: &Figure<Known>) -> Value {
    let mut all = vec![json!(figure.namespace), json!(figure.metric)];
    for (name, value) in &figure.dimensions {
        all.extend([json!(name), json!(value)]);
    }
    all.push(json!({ "label": figure.label, "stat": figure.statistic }));
    Value::Array(all)
}

fn body(want: &DashboardSpec<Known>, marks: &str) -> String {
    let graph = |(at, graph): (usize, &Graph<Known>)| {
        json!({
            "type": "metric", "x": at % 2 * GRAPH_WIDTH, "y": at / 2 * GRAPH_HEIGHT,
            "width": GRAPH_WIDTH, "height": GRAPH_HEIGHT,
            "properties": {
                "title": graph.title, "region": want.region, "view": "timeSeries", "stacked": false,
                "period": PERIOD_SECONDS, "metrics": graph.lines.iter().map(line).collect::<Vec<_>>()
            }
        })
    };
    let mut widgets: Vec<Value> = want.graphs.iter().enumerate().map(graph).collect();
    widgets.push(json!({
        "type": "text", "x": 0, "y": want.graphs.len().div_ceil(2) * GRAPH_HEIGHT,
        "width": WIDTH, "height": TEXT_HEIGHT, "properties": { "markdown": marks }
    }));
    json!({ "widgets": widgets }).to_string()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn figure(line: &Value) -> Figure<Known> {
    let mut words: Vec<&Value> = line.as_array().into_iter().flatten().collect();
    let last = words.pop_if(|last| last.is_object()).unwrap_or(&Value::Null);
    let of = |at: usize| words.get(at).copied().map(text).unwrap_or_default();
    let dimensions = words.get(2..).unwrap_or_default().chunks(2);
    Figure {
        label: text(&last["label"]),
        namespace: of(0),
        metric: of(1),
        statistic: text(&last["stat"]),
        dimensions: dimensions.filter_map(|pair| Some((text(pair.first()?), text(pair.get(1)?)))).collect(),
    }
}

/// What a body shows, and its marks. `None` for what bears none of ours.
fn parsed(name: &str, body: &str) -> Option<(DashboardObserved, BTreeMap<String, String>)> {
    let body: Value = serde_json::from_str(body).ok()?;
    let widgets = body["widgets"].as_array()?;
    let marks = widgets.iter().find_map(|one| read(one["properties"]["markdown"].as_str()?))?;
    let shown = widgets.iter().filter(|one| one["properties"]["markdown"].as_str().and_then(read).is_none());
    let graph = |widget: &Value| {
        let of = &widget["properties"];
        let lines = of["metrics"].as_array().into_iter().flatten().map(figure).collect();
        Graph { title: text(&of["title"]), lines }
    };
    let region = widgets.iter().find_map(|one| one["properties"]["region"].as_str()).unwrap_or_default();
    let graphs = shown.map(graph).collect();
    Some((DashboardObserved { name: name.to_owned(), region: region.to_owned(), graphs }, marks))
}

fn marks_of(marks: &BTreeMap<String, String>) -> Option<Marks> {
    Marks::read(marks.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

/// ARN and body of a dashboard.
async fn described(on: &Calls<'_>, name: &str) -> Result<Option<(String, String)>> {
    let ask = || async {
        let ask = on.region.cloudwatch.get_dashboard().dashboard_name(name).send();
        let Some(answer) = on.find("cloudwatch:GetDashboard", ask).await? else { return Ok(None) };
        let of =
            |field: Option<String>, what| field.ok_or_else(|| unexpected("cloudwatch:GetDashboard", what));
        Ok(Some((of(answer.dashboard_arn, "ARN")?, of(answer.dashboard_body, "body")?)))
    };
    on.once("a dashboard", name, ask).await
}

/// The dashboard of that name, and what is ours of it.
async fn named(on: &Calls<'_>, name: &str) -> Result<Option<Option<Seen<DashboardObserved>>>> {
    let Some((arn, body)) = described(on, name).await? else { return Ok(None) };
    Ok(Some(parsed(name, &body).and_then(|(observed, marks)| {
        Some(Seen { id: PhysicalId(arn), marks: marks_of(&marks)?, observed })
    })))
}

/// Dashboards that bear marks, whoever's: name, ARN and marks.
pub(crate) async fn ours(on: &Calls<'_>) -> Result<Vec<(String, Marks)>> {
    let ask = |next| on.region.cloudwatch.list_dashboards().set_next_token(next).send();
    let pages = on.pages("cloudwatch:ListDashboards", ask, |page| page.next_token.clone()).await?;
    let names = pages.into_iter().flat_map(|page| page.dashboard_entries.unwrap_or_default());
    let names: Vec<String> = names.filter_map(|one| one.dashboard_name).collect();
    let all = together(names.iter().map(|name| named(on, name))).await?;
    Ok(all.into_iter().flatten().flatten().map(|seen| (seen.id.0, seen.marks)).collect())
}

async fn put(on: &Calls<'_>, want: &DashboardSpec<Known>, marks: &str) -> Result<()> {
    let body = body(want, marks);
    let put = || on.region.cloudwatch.put_dashboard().dashboard_name(&want.name).dashboard_body(&body).send();
    let answer = on.put("cloudwatch:PutDashboard", put).await?;
    // What CloudWatch does not understand it takes, and shows nothing of it.
    match answer.dashboard_validation_messages().first() {
        None => Ok(()),
        Some(first) => {
            let words = first.message().unwrap_or("no reason is given");
            let place = first.data_path().unwrap_or_default();
            Err(ProviderError::new(ErrorKind::Config, format!("cloudwatch:PutDashboard: {words} ({place})")))
        }
    }
}

/// Writes marks anew into a dashboard that has some; all else in it stays.
pub(crate) async fn mark(on: &Calls<'_>, arn: &str, new: &[(&'static str, String)]) -> Result<()> {
    let name = name_of(arn);
    let Some((_, said)) = described(on, name).await? else { return Ok(()) };
    let wrong = || unexpected("cloudwatch:GetDashboard", "marks");
    let mut whole: Value = serde_json::from_str(&said).map_err(|_| wrong())?;
    let widgets = whole["widgets"].as_array_mut().ok_or_else(wrong)?;
    let ours = |one: &&mut Value| one["properties"]["markdown"].as_str().and_then(read).is_some();
    let widget = widgets.iter_mut().find(ours).ok_or_else(wrong)?;
    let mut marks = widget["properties"]["markdown"].as_str().and_then(read).ok_or_else(wrong)?;
    marks.extend(new.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let words = marks.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    widget["properties"]["markdown"] = written(words).into();
    let body = whole.to_string();
    let put = || on.region.cloudwatch.put_dashboard().dashboard_name(name).dashboard_body(&body).send();
    on.put("cloudwatch:PutDashboard", put).await.map(drop)
}

impl Native for Dashboard {
    const TOKEN: CreateToken = CreateToken::Name;
    const GLOBAL: bool = true;

    async fn see(&self, on: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<DashboardObserved>>> {
        Ok(named(on, name_of(&id.0)).await?.flatten())
    }

    /// Its name is all that tells it: each that the stack has or is to have is asked for.
    async fn list(&self, on: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<DashboardObserved>>> {
        let names = on.account.named(self, look, "name");
        let all = together(names.iter().map(|name| named(on, name))).await?;
        Ok(all.into_iter().flatten().flatten().collect())
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &DashboardSpec<Known>,
    ) -> Result<PhysicalId> {
        let on = on.global().await;
        let there = named(&on, &want.name).await?;
        if there.is_some_and(|there| !there.is_some_and(|one| one.marks.are(on.cx, key))) {
            return Err(name_taken("dashboard", &want.name));
        }
        let marks = Marks::tags(on.cx, key);
        put(&on, want, &written(marks.iter().map(|(name, value)| (*name, value.as_str())))).await?;
        let made = on.made(true, || async { Ok(named(&on, &want.name).await?.flatten()) }).await?;
        made.map(|one| one.id).ok_or_else(|| unexpected("cloudwatch:GetDashboard", "dashboard"))
    }

    async fn change(
        &self,
        on: &Calls<'_>,
        id: &PhysicalId,
        _: &DashboardObserved,
        want: &DashboardSpec<Known>,
    ) -> Result<()> {
        let there = described(on, name_of(&id.0)).await?;
        let marks = there.and_then(|(_, body)| Some(parsed(&want.name, &body)?.1));
        let marks = marks.ok_or_else(|| unexpected("cloudwatch:GetDashboard", "marks"))?;
        put(on, want, &written(marks.iter().map(|(name, value)| (name.as_str(), value.as_str())))).await
    }

    async fn remove(&self, on: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = on.region.cloudwatch.delete_dashboards().dashboard_names(name_of(&id.0)).send();
        on.remove("cloudwatch:DeleteDashboards", gone).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> DashboardSpec<Known> {
        let dimensions = [("ClusterName", "c"), ("ServiceName", "s")];
        let figure = |metric: &str| Figure {
            label: metric.to_owned(),
            namespace: "AWS/ECS".to_owned(),
            metric: metric.to_owned(),
            statistic: "p95".to_owned(),
            dimensions: dimensions.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        DashboardSpec {
            name: "shop-production".to_owned(),
            region: "eu-west-1".to_owned(),
            graphs: vec![
                Graph { title: "CPU and memory".to_owned(), lines: vec![figure("CPU"), figure("Memory")] },
                Graph { title: "More".to_owned(), lines: vec![figure("More")] },
            ],
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let want = spec();
        let marks = written([("vrooli:stack", "shop/production"), ("vrooli:resource", "dashboard/main")]);
        let (seen, read) = parsed("shop-production", &body(&want, &marks)).unwrap();
        assert_eq!((&seen.name, &seen.region, &seen.graphs), (&want.name, &want.region, &want.graphs));
        assert_eq!(read["vrooli:stack"], "shop/production");
        assert_eq!(read["vrooli:resource"], "dashboard/main");
    }

    #[test]
    fn what_somebody_else_made_is_none() {
        for theirs in [
            "",
            "[]",
            r#"{"widgets":[]}"#,
            r##"{"widgets":[{"type":"text","properties":{"markdown":"# Hello"}}]}"##,
        ] {
            assert_eq!(parsed("shop-production", theirs), None, "{theirs}");
        }
    }

    #[test]
    fn a_graph_that_somebody_added_is_seen() {
        let mut whole: Value = serde_json::from_str(&body(&spec(), &written([("a", "b")]))).unwrap();
        whole["widgets"]
            .as_array_mut()
            .unwrap()
            .push(json!({"type": "text", "properties": {"markdown": "# Mine"}}));
        let (seen, _) = parsed("shop-production", &whole.to_string()).unwrap();
        assert_eq!(seen.graphs.len(), 3);
    }
}
