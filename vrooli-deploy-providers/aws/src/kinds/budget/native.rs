//! A budget is made with its alerts, addresses and marks in one call. Afterwards each of its parts is changed by a call of
//! its own: an address that stays is not told again of what it was told before.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_budgets::types::{
    Budget as SdkBudget, BudgetType, ComparisonOperator, Notification, NotificationType,
    NotificationWithSubscribers, ResourceTag, Spend, Subscriber, SubscriptionType, ThresholdType, TimeUnit,
};
use aws_smithy_types::error::operation::BuildError;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, PhysicalId, ProviderError, Result};

use super::{Alert, AlertOn, Budget, BudgetObserved, BudgetSpec, SeenAlert};
use crate::native::{
    Asked, Calls, Look, Marks, Native, STACK, Seen, accept, completed, together, unexpected,
};

/// The right to read budgets, whatever the call.
const VIEW: &str = "budgets:ViewBudget";
/// The right to change them.
const MODIFY: &str = "budgets:ModifyBudget";
/// The filter by the tags of what costs.
const BY_TAG: &str = "TagKeyValue";
const USD: &str = "USD";

/// Which budget: every call says both.
#[derive(Debug, Clone)]
struct Named {
    account: String,
    name: String,
}

impl Named {
    /// `None` for what is no ARN of a budget.
    fn of(id: &PhysicalId) -> Option<Self> {
        let (account, name) = id.0.strip_prefix("arn:aws:budgets::")?.split_once(":budget/")?;
        Some(Self { account: account.to_owned(), name: name.to_owned() })
    }

    fn arn(&self) -> String {
        format!("arn:aws:budgets::{}:budget/{}", self.account, self.name)
    }
}

/// The number of the account, asked once.
async fn account(on: &Calls<'_>) -> Result<String> {
    let ask = || async {
        let answer = on.read("sts:GetCallerIdentity", on.region.sts.get_caller_identity().send()).await?;
        answer.account.ok_or_else(|| unexpected("sts:GetCallerIdentity", "account"))
    };
    on.account.number.get_or_try_init(ask).await.cloned()
}

fn incomplete(_: BuildError) -> ProviderError {
    unexpected(MODIFY, "whole request")
}

/// Whose costs: as the filter says it of a tag that the user gave.
fn filter(stack: &str) -> String {
    format!("user:{STACK}${stack}")
}

async fn described(on: &Calls<'_>, of: &Named) -> Result<Option<SdkBudget>> {
    let ask = || async {
        let ask = on.region.budgets.describe_budget().account_id(&of.account).budget_name(&of.name).send();
        Ok(on.find(VIEW, ask).await?.and_then(|answer| answer.budget))
    };
    on.once("a budget", &of.arn(), ask).await
}

/// Its alerts; none of a budget that is not there.
async fn alerts(on: &Calls<'_>, of: &Named) -> Result<Vec<Notification>> {
    let ask = || async {
        let ask = |next| {
            let ask = on.region.budgets.describe_notifications_for_budget();
            ask.account_id(&of.account).budget_name(&of.name).set_next_token(next).send()
        };
        let pages = on.pages(VIEW, ask, |page| page.next_token.clone()).await;
        let pages = accept(pages, ErrorKind::NotFound)?.unwrap_or_default();
        Ok(pages.into_iter().flat_map(|page| page.notifications.unwrap_or_default()).collect())
    };
    on.once("alerts of a budget", &of.arn(), ask).await
}

/// Who is told by an alert; nobody by one that is not there.
async fn told(on: &Calls<'_>, of: &Named, alert: &Notification) -> Result<Vec<Subscriber>> {
    let ask = || async {
        let alert = plain(alert)?;
        let ask = |next| {
            let ask = on.region.budgets.describe_subscribers_for_notification();
            let ask = ask.account_id(&of.account).budget_name(&of.name).notification(alert.clone());
            ask.set_next_token(next).send()
        };
        let pages = on.pages(VIEW, ask, |page| page.next_token.clone()).await;
        let pages = accept(pages, ErrorKind::NotFound)?.unwrap_or_default();
        Ok(pages.into_iter().flat_map(|page| page.subscribers.unwrap_or_default()).collect())
    };
    let unit = alert.threshold_type().map_or("", ThresholdType::as_str);
    let (on_what, how) = (alert.notification_type().as_str(), alert.comparison_operator().as_str());
    let which = format!("{} {on_what} {how} {} {unit}", of.arn(), alert.threshold());
    on.once("addresses of an alert", &which, ask).await
}

async fn own_marks(on: &Calls<'_>, arn: &str) -> Result<Option<Marks>> {
    let ask = || async {
        let ask = on.region.budgets.list_tags_for_resource().resource_arn(arn).send();
        let answer = on.find("budgets:ListTagsForResource", ask).await?;
        Ok(answer.and_then(|answer| Marks::of(answer.resource_tags())))
    };
    on.once("tags of a budget", arn, ask).await
}

/// Which of ours an alert is. `None` for one that is not of percents exceeded.
fn when(alert: &Notification) -> Option<Alert> {
    let above = *alert.comparison_operator() == ComparisonOperator::GreaterThan;
    let percents = alert.threshold_type().is_none_or(|unit| *unit == ThresholdType::Percentage);
    let on = match alert.notification_type() {
        NotificationType::Actual => AlertOn::Actual,
        NotificationType::Forecasted => AlertOn::Forecast,
        _ => return None,
    };
    // A fraction is none of ours either.
    let percent = alert.threshold().to_string().parse().ok()?;
    (above && percents).then_some(Alert { on, percent })
}

/// An alert as it is named in calls: without what it found out.
fn plain(alert: &Notification) -> Result<Notification> {
    Notification::builder()
        .notification_type(alert.notification_type().clone())
        .comparison_operator(alert.comparison_operator().clone())
        .threshold(alert.threshold())
        .set_threshold_type(alert.threshold_type().cloned())
        .build()
        .map_err(incomplete)
}

fn notification(alert: Alert) -> Result<Notification> {
    Notification::builder()
        .notification_type(match alert.on {
            AlertOn::Actual => NotificationType::Actual,
            AlertOn::Forecast => NotificationType::Forecasted,
        })
        .comparison_operator(ComparisonOperator::GreaterThan)
        .threshold(alert.percent.into())
        .threshold_type(ThresholdType::Percentage)
        .build()
        .map_err(incomplete)
}

fn subscriber(address: &str) -> Result<Subscriber> {
    let make = Subscriber::builder().subscription_type(SubscriptionType::Email).address(address);
    make.build().map_err(incomplete)
}

fn subscribers(want: &BudgetSpec) -> Result<Vec<Subscriber>> {
    want.notify.iter().map(|address| subscriber(address.as_str())).collect()
}

/// Whose costs it counts; empty where it counts others, or some of them.
#[expect(deprecated, reason = "its successor is told only when asked for, and says no more of one tag")]
fn counted(budget: &SdkBudget) -> String {
    let filters: Vec<_> = budget.cost_filters.iter().flatten().collect();
    match filters[..] {
        [(by, values)] if by == BY_TAG && values.len() == 1 => {
            let stack = values.iter().find_map(|value| value.strip_prefix(&filter("")));
            stack.unwrap_or_default().to_owned()
        }
        _ => String::new(),
    }
}

fn is_fixed_monthly(budget: &SdkBudget) -> bool {
    budget.budget_type == BudgetType::Cost
        && budget.time_unit == TimeUnit::Monthly
        && budget.budget_limit().is_some_and(|limit| limit.unit() == USD)
        && budget.planned_budget_limits.as_ref().is_none_or(HashMap::is_empty)
        && budget.auto_adjust_data.is_none()
}

/// The budget that is wanted, and what else of one that is there stays as it is.
#[expect(deprecated, reason = "its successor is told only when asked for, and says no more of one tag")]
fn whole(want: &BudgetSpec, there: Option<SdkBudget>) -> Result<SdkBudget> {
    let limit = Spend::builder().amount(&want.monthly_usd).unit(USD).build().map_err(incomplete)?;
    let (period, types) = there.map(|there| (there.time_period, there.cost_types)).unwrap_or_default();
    SdkBudget::builder()
        .budget_name(&want.name)
        .budget_type(BudgetType::Cost)
        .time_unit(TimeUnit::Monthly)
        .budget_limit(limit)
        .cost_filters(BY_TAG, vec![filter(&want.stack)])
        .set_time_period(period)
        .set_cost_types(types)
        .build()
        .map_err(incomplete)
}

/// The budget of that name, and what is ours of it.
async fn named(on: &Calls<'_>, of: &Named, asked: &Asked) -> Result<Option<Option<Seen<BudgetObserved>>>> {
    let (budget, alerts) = tokio::try_join!(described(on, of), alerts(on, of))?;
    let Some(budget) = budget else { return Ok(None) };
    let arn = of.arn();
    let each = together(alerts.iter().map(|alert| told(on, of, alert)));
    let (told, marks) = tokio::try_join!(each, asked.marks(&arn, &of.name, own_marks(on, &arn)))?;
    let Some(marks) = marks else { return Ok(Some(None)) };
    let addresses = |told: &[Subscriber]| told.iter().map(|one| one.address().to_owned()).collect();
    let seen = alerts
        .iter()
        .zip(&told)
        .filter_map(|(alert, told)| Some(SeenAlert { when: when(alert)?, notify: addresses(told) }));
    let mut seen: Vec<SeenAlert> = seen.collect();
    seen.sort();
    let others = alerts.iter().filter(|alert| when(alert).is_none()).count();
    Ok(Some(Some(Seen {
        id: PhysicalId(arn),
        marks,
        observed: BudgetObserved {
            name: of.name.clone(),
            monthly_usd: budget.budget_limit().map(|limit| limit.amount().to_owned()).unwrap_or_default(),
            stack: counted(&budget),
            fixed_monthly: is_fixed_monthly(&budget),
            alerts: seen,
            other_alerts: u32::try_from(others).unwrap_or(u32::MAX),
        },
    })))
}

/// Budgets that bear marks, whoever's: ARN and marks.
pub(crate) async fn ours(on: &Calls<'_>) -> Result<Vec<(String, Marks)>> {
    let account = account(on).await?;
    let ask = |next| on.region.budgets.describe_budgets().account_id(&account).set_next_token(next).send();
    let pages = on.pages(VIEW, ask, |page| page.next_token.clone()).await?;
    let all = pages.iter().flat_map(|page| page.budgets());
    let arn = |one: &SdkBudget| Named { account: account.clone(), name: one.budget_name.clone() }.arn();
    let marked = together(all.map(arn).map(|arn| async move {
        let marks = own_marks(on, &arn).await?;
        Ok(marks.map(|marks| (arn, marks)))
    }));
    Ok(marked.await?.into_iter().flatten().collect())
}

/// Tells those that are wanted of an alert, and nobody else. It has somebody to tell all the while, and never more than AWS takes.
async fn tell(on: &Calls<'_>, of: &Named, alert: &Notification, want: &BudgetSpec) -> Result<()> {
    let there = told(on, of, alert).await?;
    let wanted: BTreeSet<&str> = want.notify.iter().map(|address| address.as_str()).collect();
    let known: BTreeSet<&str> = there.iter().map(Subscriber::address).collect();
    let leaving = there.iter().filter(|one| !wanted.contains(one.address()));
    let (mut leaving, other): (Vec<_>, Vec<_>) =
        leaving.partition(|one| *one.subscription_type() == SubscriptionType::Email);
    let alert = plain(alert)?;
    for address in wanted.difference(&known) {
        let new = subscriber(address)?;
        match leaving.pop() {
            Some(old) => {
                let put = || {
                    let put = on.region.budgets.update_subscriber().account_id(&of.account);
                    let put = put.budget_name(&of.name).notification(alert.clone());
                    put.old_subscriber(old.clone()).new_subscriber(new.clone()).send()
                };
                // Asked again after an answer that was lost, the old one is gone.
                on.take(MODIFY, put).await?;
            }
            None => {
                let put = || {
                    let put = on.region.budgets.create_subscriber().account_id(&of.account);
                    let put = put.budget_name(&of.name).notification(alert.clone());
                    put.subscriber(new.clone()).send()
                };
                accept(on.put(MODIFY, put).await, ErrorKind::AlreadyExists)?;
            }
        }
    }
    for old in leaving.into_iter().chain(other) {
        let put = || {
            let put = on.region.budgets.delete_subscriber().account_id(&of.account);
            put.budget_name(&of.name).notification(alert.clone()).subscriber(old.clone()).send()
        };
        on.take(MODIFY, put).await?;
    }
    Ok(())
}

/// Gives it the alerts that are wanted, and no others. Those that stay are not made anew: they would tell again.
async fn settle(on: &Calls<'_>, of: &Named, want: &BudgetSpec) -> Result<()> {
    let there = alerts(on, of).await?;
    let is_wanted = |alert: &&Notification| when(alert).is_some_and(|when| want.alerts.contains(&when));
    let (stay, go): (Vec<_>, Vec<_>) = there.iter().partition(is_wanted);
    for alert in go {
        let alert = plain(alert)?;
        let put = || {
            let put = on.region.budgets.delete_notification().account_id(&of.account);
            put.budget_name(&of.name).notification(alert.clone()).send()
        };
        on.take(MODIFY, put).await?;
    }
    let known: BTreeSet<Alert> = stay.iter().filter_map(|alert| when(alert)).collect();
    for alert in want.alerts.difference(&known) {
        let (alert, all) = (notification(*alert)?, subscribers(want)?);
        let put = || {
            let put = on.region.budgets.create_notification().account_id(&of.account);
            let put = put.budget_name(&of.name).notification(alert.clone());
            put.set_subscribers(Some(all.clone())).send()
        };
        accept(on.put(MODIFY, put).await, ErrorKind::AlreadyExists)?;
    }
    for alert in stay {
        tell(on, of, alert, want).await?;
    }
    Ok(())
}

fn no_budget(id: &PhysicalId) -> ProviderError {
    ProviderError::new(ErrorKind::NotFound, format!("there is no budget `{}`", id.0))
}

impl Native for Budget {
    const TOKEN: CreateToken = CreateToken::Name;
    const GLOBAL: bool = true;

    async fn see(&self, on: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<BudgetObserved>>> {
        let Some(of) = Named::of(id) else { return Ok(None) };
        Ok(named(on, &of, &Asked::only(&of.name)).await?.flatten())
    }

    /// An account may have thousands: each that the stack has or is to have is asked for by its name.
    async fn list(&self, on: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<BudgetObserved>>> {
        let names = on.account.named(self, look, "name");
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let (account, asked) = tokio::try_join!(account(on), on.asked(self, look, "name"))?;
        let all: Vec<Named> =
            names.into_iter().map(|name| Named { account: account.clone(), name }).collect();
        let all = together(all.iter().map(|of| named(on, of, &asked))).await?;
        Ok(all.into_iter().flatten().flatten().collect())
    }

    async fn ahead(&self, on: &Calls<'_>, ids: &[PhysicalId]) {
        let specs: Vec<BudgetSpec> = on
            .account
            .wanted(self, Look::Stack)
            .filter_map(|(_, spec)| serde_json::from_value(spec.clone()).ok())
            .collect();
        let all: Vec<Named> = ids.iter().filter_map(Named::of).collect();
        let each = all.iter().map(|of| {
            let alerts_wanted =
                specs.iter().filter(|spec| spec.name == of.name).flat_map(|spec| &spec.alerts);
            let wanted: BTreeSet<Alert> = alerts_wanted.copied().collect();
            let wanted: Vec<Notification> =
                wanted.into_iter().filter_map(|alert| notification(alert).ok()).collect();
            async move {
                let arn = of.arn();
                let _ = tokio::join!(
                    described(on, of),
                    alerts(on, of),
                    own_marks(on, &arn),
                    together(wanted.iter().map(|alert| told(on, of, alert))),
                );
                Ok(())
            }
        });
        let _ = tokio::join!(account(on), together(each));
    }

    async fn make(&self, on: &Calls<'_>, key: &ResourceKey, want: &BudgetSpec) -> Result<PhysicalId> {
        let of = Named { account: account(on).await?, name: want.name.clone() };
        let all = subscribers(want)?;
        let alerts = want.alerts.iter().map(|alert| {
            let make = NotificationWithSubscribers::builder().notification(notification(*alert)?);
            make.set_subscribers(Some(all.clone())).build().map_err(incomplete)
        });
        let make = on.region.budgets.create_budget().account_id(&of.account).budget(whole(want, None)?);
        let make = make.set_notifications_with_subscribers(Some(alerts.collect::<Result<_>>()?));
        let make = make.set_resource_tags(Some(Marks::as_tags::<ResourceTag>(on.cx, key)?)).send();
        let made = on.create(MODIFY, make).await?;
        let asked = Asked::only(&of.name);
        let there = on.made(made, || async { Ok(named(on, &of, &asked).await?.flatten()) }).await?;
        let there = on.own(there, key, ("budget", &want.name))?;
        if !made {
            completed(self.change(on, &there.id, &there.observed, want).await)?;
        }
        Ok(there.id)
    }

    async fn change(
        &self,
        on: &Calls<'_>,
        id: &PhysicalId,
        have: &BudgetObserved,
        want: &BudgetSpec,
    ) -> Result<()> {
        let of = Named::of(id).ok_or_else(|| no_budget(id))?;
        let same_limit = super::same_amount(&want.monthly_usd, &have.monthly_usd);
        if !same_limit || have.stack != want.stack || !have.fixed_monthly {
            let there = described(on, &of).await?.ok_or_else(|| no_budget(id))?;
            let new = whole(want, Some(there))?;
            let put =
                || on.region.budgets.update_budget().account_id(&of.account).new_budget(new.clone()).send();
            on.put(MODIFY, put).await?;
        }
        settle(on, &of, want).await
    }

    async fn remove(&self, on: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let Some(of) = Named::of(id) else { return Ok(()) };
        let gone = on.region.budgets.delete_budget().account_id(&of.account).budget_name(&of.name).send();
        on.remove(MODIFY, gone).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_account_and_budget() {
        let of = |id: &str| Named::of(&PhysicalId(id.to_owned())).map(|of| (of.account, of.name));
        let whole = "arn:aws:budgets::123456789012:budget/shop-default";
        assert_eq!(of(whole), Some(("123456789012".to_owned(), "shop-default".to_owned())));
        assert_eq!(of("arn:aws:iam::123456789012:role/shop"), None);
    }

    #[test]
    fn alerts_are_read_as_they_are_written() {
        for on in [AlertOn::Actual, AlertOn::Forecast] {
            let alert = Alert { on, percent: 80 };
            assert_eq!(when(&notification(alert).unwrap()), Some(alert));
        }
        let other = |threshold: f64, unit: ThresholdType, how: ComparisonOperator| {
            let make = Notification::builder().notification_type(NotificationType::Actual);
            let make = make.comparison_operator(how).threshold(threshold).threshold_type(unit);
            when(&make.build().unwrap())
        };
        assert_eq!(other(80.5, ThresholdType::Percentage, ComparisonOperator::GreaterThan), None);
        assert_eq!(other(80.0, ThresholdType::AbsoluteValue, ComparisonOperator::GreaterThan), None);
        assert_eq!(other(80.0, ThresholdType::Percentage, ComparisonOperator::LessThan), None);
    }

    #[test]
    fn it_counts_what_bears_the_tag_of_its_stack_and_nothing_else() {
        let want = BudgetSpec {
            name: "shop-default".to_owned(),
            monthly_usd: "200".to_owned(),
            stack: "shop/default".to_owned(),
            alerts: BTreeSet::new(),
            notify: BTreeSet::new(),
        };
        let budget = whole(&want, None).unwrap();
        assert_eq!(filter(&want.stack), "user:vrooli:stack$shop/default");
        assert_eq!(counted(&budget), "shop/default");
        assert!(is_fixed_monthly(&budget));
        let none = SdkBudget::builder().budget_name("x").budget_type(BudgetType::Usage);
        let none = none.time_unit(TimeUnit::Annually).build().unwrap();
        assert_eq!((counted(&none), is_fixed_monthly(&none)), (String::new(), false));
    }
}
