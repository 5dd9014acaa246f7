//! What holds for every bill.

use proptest::prelude::*;
use vrooli_deploy_core::cost::{
    BillItem, Decimal, Figure, Level, Levels, Line, Metric, Prices, Quantity, UsageProfile, estimate,
};

use super::{bill, digital, including, item, used};

fn some_item() -> impl Strategy<Value = BillItem> {
    let count = (1_u32..50).prop_map(|n| Quantity::Running(n.into()));
    let amount = (0_i64..1_000_000).prop_map(|n| Quantity::Amount(Decimal::new(n, 3)));
    let metric = prop::sample::select(vec![
        (Metric::EgressGb, "data-transfer", "internet-egress"),
        (Metric::CdnGb, "cloudfront", "egress-us-eu"),
        (Metric::StorageGb, "s3", "standard-storage"),
        (Metric::LogsGb, "logs", "ingest"),
    ]);
    let pool = prop::option::of(prop::sample::select(vec!["a", "b"]));
    prop_oneof![
        (count, any::<bool>(), prop::option::of((prop::sample::select(vec!["a", "b"]), 0_u32..3000)))
            .prop_map(|(quantity, per_release, includes)| {
                let mut item = item(Line::Compute, "aws", "ec2", "t3.medium", "us-east-1", quantity);
                item.per_release = per_release;
                match includes {
                    Some((pool, amount)) => including(item, pool, amount),
                    None => item,
                }
            }),
        amount.prop_map(|quantity| item(Line::Storage, "aws", "ebs", "gp3", "us-east-1", quantity)),
        (metric, pool).prop_map(|((metric, service, sku), pool)| {
            item(Line::Bandwidth, "aws", service, sku, "us-east-1", used(metric, pool))
        }),
        (1_u32..9).prop_map(|n| digital(
            Line::Compute,
            "droplet",
            "s-1vcpu-1gb",
            Quantity::Running(n.into())
        )),
    ]
}

fn values() -> impl Strategy<Value = Levels<Decimal>> {
    (0_i64..1_000_000, 0_i64..1_000_000, 0_i64..1_000_000).prop_map(|(a, b, c)| Levels {
        low: Decimal::new(a, 1),
        expected: Decimal::new(a + b, 1),
        high: Decimal::new(a + b + c, 1),
    })
}

const METRICS: [Metric; 3] = [Metric::EgressGb, Metric::StorageGb, Metric::LogsGb];

proptest! {
    #[test]
    fn totals_are_sums_and_rise_with_usage(
        items in prop::collection::vec(some_item(), 0..12),
        figures in [values(), values(), values()],
        more in 0_i64..1_000_000,
    ) {
        let mut usage = UsageProfile::named("web-app").unwrap().clone();
        let mut busier = usage.clone();
        for (metric, values) in METRICS.into_iter().zip(figures) {
            usage = usage.with(Figure::Metric(metric), values).unwrap();
            let more = Decimal::new(more, 1);
            let values = Levels { low: values.low + more, expected: values.expected + more, high: values.high + more };
            busier = busier.with(Figure::Metric(metric), values).unwrap();
        }
        let bill = bill("aws", items.into_iter().map(|item| ("a/b", item)).collect());
        let prices = Prices::embedded();
        let ours = estimate(&bill, &usage, &prices).into_result().unwrap().0;
        let theirs = estimate(&bill, &busier, &prices).into_result().unwrap().0;
        for level in Level::ALL {
            let total = ours.total(level);
            let lines: Decimal = ours.lines.iter().map(|part| part.amount.at(level).amount).sum();
            let kinds: Decimal = Line::ALL.into_iter().map(|line| ours.sum(line, level).amount).sum();
            prop_assert_eq!(total.amount, lines);
            prop_assert_eq!(total.amount, kinds);
            prop_assert_eq!(total, total.cents());
            for part in &ours.lines {
                prop_assert!(!part.amount.at(level).amount.is_sign_negative() || part.amount.at(level).amount.is_zero());
                prop_assert!(*part.quantity.at(level) >= Decimal::ZERO);
                prop_assert_eq!(*part.amount.at(level), part.amount.at(level).cents());
            }
            prop_assert!(theirs.total(level).amount >= total.amount);
        }
        prop_assert!(ours.total(Level::Low).amount <= ours.total(Level::Expected).amount);
        prop_assert!(ours.total(Level::Expected).amount <= ours.total(Level::High).amount);
    }
}
