//! What a plan does to the bill: shown with it, asked about, and held against a budget before anything is made.

use std::path::PathBuf;

use vrooli_deploy_core::cost::{PlannedCost, Verdict};
use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_core::workspace::{DestroyOptions, OperationError, Run};
use vrooli_deploy_tests::fakecloud::{FakeCloud, kinds};

use crate::orphans::{Desk, cloud, on_real_time};

/// What each of the six things of the fake cloud costs a month.
const PRICES: [(&str, &str); 6] = [
    (kinds::NETWORK, "1"),
    (kinds::SUBNET, "2"),
    (kinds::DATABASE, "40"),
    (kinds::INSTANCE, "30"),
    (kinds::BUCKET, "5"),
    (kinds::RECORD, "0.50"),
];
const ALL: &str = "78.50";

/// A desk with a price list of the fake cloud; the list goes with the folder.
async fn priced(cloud: &FakeCloud) -> (Desk, tempfile::TempDir) {
    let mut desk = Desk::at(cloud).await;
    let folder = tempfile::tempdir().unwrap();
    let entries: Vec<_> = PRICES
        .iter()
        .map(|(kind, usd)| {
            serde_json::json!({"service": kind, "sku": kind, "unit": "month", "usd": usd, "source": "list", "confidence": "A"})
        })
        .collect();
    let book = serde_json::json!({
        "schema": "vrooli-deploy.prices/1",
        "provider": "fakecloud",
        "currency": "USD",
        "sources": {"list": {"what": "the fake cloud's list", "as_of": "2026-11"}},
        "entries": entries,
    });
    let file: PathBuf = folder.path().join("fake.json");
    std::fs::write(&file, book.to_string()).unwrap();
    desk.deploy.cost.prices = Some(file.display().to_string());
    (desk, folder)
}

fn limited(desk: &mut Desk, limit: &str) {
    desk.deploy.cost.max_monthly = Some(limit.parse().unwrap());
}

fn change(cost: Option<&PlannedCost>) -> String {
    cost.unwrap().change().unwrap().to_string()
}

fn made(cloud: &FakeCloud) -> usize {
    cloud.calls().iter().filter(|call| call.changes).count()
}

#[test]
fn a_plan_says_what_it_does_to_the_bill() {
    on_real_time(async {
        let cloud = cloud();
        let (desk, _list) = priced(&cloud).await;
        let report = desk.workspace.plan(&desk.target, &desk.deploy).await.unwrap();
        let cost = report.cost.as_ref().unwrap();
        assert_eq!(change(Some(cost)), ALL);
        assert_eq!(cost.lines().len(), 1, "{:?}", cost.lines());
        report.gate().unwrap();
        assert_eq!(desk.deploy().await.outcome.kind, OutcomeKind::Applied);
        let again = desk.workspace.plan(&desk.target, &desk.deploy).await.unwrap();
        let cost = again.cost.as_ref().unwrap();
        assert_eq!((change(Some(cost)).as_str(), cost.may_rise()), ("0.00", false));
        assert_eq!(cost.after.as_ref().unwrap().total(cost.level).to_string(), ALL);
    });
}

#[test]
fn what_makes_the_month_dearer_asks_unless_a_budget_allows_it() {
    on_real_time(async {
        let cloud = cloud();
        let (mut desk, _list) = priced(&cloud).await;
        let deploying =
            async |desk: &Desk| desk.workspace.deploy(&desk.target, &desk.deploy, &Run::new()).await.unwrap();
        let change = deploying(&desk).await;
        assert!(change.needs_confirmation());
        drop(change);
        limited(&mut desk, ALL);
        let change = deploying(&desk).await;
        assert!(!change.needs_confirmation());
        assert_eq!(change.apply().await.unwrap().outcome.kind, OutcomeKind::Applied);
        // Nothing more is paid, so nothing is asked.
        desk.deploy.cost.max_monthly = None;
        assert!(!deploying(&desk).await.needs_confirmation());
    });
}

#[test]
fn what_is_over_the_budget_is_refused_before_anything_is_made() {
    on_real_time(async {
        let cloud = cloud();
        let (mut desk, _list) = priced(&cloud).await;
        limited(&mut desk, "78.49");
        let refused = desk.workspace.deploy(&desk.target, &desk.deploy, &Run::new()).await.err().unwrap();
        assert_eq!((refused.code().to_string().as_str(), refused.exit_code()), ("VD0420", 7));
        assert!(refused.to_string().contains("78.50 USD a month is over the budget of 78.49"), "{refused}");
        let report = desk.workspace.plan(&desk.target, &desk.deploy).await.unwrap();
        assert_eq!(report.cost.as_ref().unwrap().judgement.as_ref().unwrap().verdict, Verdict::Over);
        assert!(matches!(report.gate(), Err(OperationError::Budget(_))));
        assert_eq!((made(&cloud), cloud.world().objects.len()), (0, 0));
    });
}

#[test]
fn what_nobody_can_price_asks_and_passes_no_budget() {
    on_real_time(async {
        let cloud = cloud();
        let mut desk = Desk::at(&cloud).await;
        let report = desk.workspace.plan(&desk.target, &desk.deploy).await.unwrap();
        let cost = report.cost.as_ref().unwrap();
        assert!(cost.after.is_none() && cost.may_rise() && !cost.diagnostics.is_empty());
        let asks = desk.workspace.deploy(&desk.target, &desk.deploy, &Run::new()).await.unwrap();
        assert!(asks.needs_confirmation());
        drop(asks);
        limited(&mut desk, "1000000");
        let refused = desk.workspace.deploy(&desk.target, &desk.deploy, &Run::new()).await.err().unwrap();
        assert!(matches!(&refused, OperationError::Input(found) if !found.is_empty()), "{refused}");
        assert_eq!((refused.exit_code(), made(&cloud)), (1, 0));
    });
}

#[test]
fn a_damaged_book_keeps_nobody_from_deploying_who_asked_for_no_prices() {
    on_real_time(async {
        let cloud = cloud();
        let mut desk = Desk::at(&cloud).await;
        let folder = desk.workspace.dir().join("prices");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("mine.json"), "{").unwrap();
        let report = desk.workspace.plan(&desk.target, &desk.deploy).await.unwrap();
        let said = &report.cost.unwrap().diagnostics;
        assert!(said.iter().any(|found| found.to_string().contains("mine.json")), "{said:?}");
        assert_eq!(desk.deploy().await.outcome.kind, OutcomeKind::Applied);
        limited(&mut desk, "1");
        desk.workspace.plan(&desk.target, &desk.deploy).await.unwrap_err();
    });
}

#[test]
fn what_is_kept_is_still_paid_for() {
    on_real_time(async {
        let cloud = cloud();
        let (desk, list) = priced(&cloud).await;
        assert_eq!(desk.deploy().await.outcome.kind, OutcomeKind::Applied);
        let book = desk.workspace.price_book(list.path().join("fake.json").to_str().unwrap()).unwrap();
        desk.workspace.keep_prices(&book).unwrap();
        let ending = async |data: Option<&str>| {
            let mut options = DestroyOptions::default();
            options.data = data.map(str::to_owned);
            let change = desk.workspace.destroy(&desk.target.stack, &options, &Run::new()).await.unwrap();
            let cost = change.cost().unwrap();
            (cost.change().unwrap().to_string(), cost.after.as_ref().unwrap().total(cost.level).to_string())
        };
        // The database stays, and what it stands on.
        assert_eq!(ending(None).await, ("-35.50".to_owned(), "43.00".to_owned()));
        assert_eq!(ending(Some("shop")).await, (format!("-{ALL}"), "0.00".to_owned()));
    });
}
