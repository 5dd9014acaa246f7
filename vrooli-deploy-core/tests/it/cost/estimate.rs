//! Bills into estimates.

use std::path::Path;
use std::sync::Arc;

use vrooli_deploy_core::cost::{
    BillItem, Decimal, Estimate, Figure, Grade, Level, Levels, Line, Metric, Money, PriceKey, Prices,
    Quantity, Server, UsageProfile, book, differences, estimate,
};

use super::{bill, d, digital, document_items, including, item, running, used, with};

fn web_app() -> &'static UsageProfile {
    UsageProfile::named("web-app").unwrap()
}

fn priced(provider: &str, items: Vec<(&str, BillItem)>) -> Estimate {
    let checked = estimate(&bill(provider, items), web_app(), &Prices::embedded());
    checked.into_result().unwrap_or_else(|found| panic!("{found:#?}")).0
}

fn refused(provider: &str, item: BillItem) -> (String, String, Option<String>) {
    let checked = estimate(&bill(provider, vec![("a/b", item)]), web_app(), &Prices::embedded());
    assert!(checked.value.is_none());
    let first = &checked.diagnostics[0];
    (first.code.to_string(), first.message.clone(), first.help.clone())
}

fn total(estimate: &Estimate) -> String {
    estimate.total(Level::Expected).to_string()
}

#[test]
fn the_document_s_example_costs_what_its_lines_sum_to() {
    let with_balancer = priced("digitalocean", document_items(true));
    let without = priced("digitalocean", document_items(false));
    assert_eq!((total(&with_balancer), total(&without)), ("95.15".to_owned(), "83.15".to_owned()));
    let lines: Vec<_> = with_balancer
        .kinds()
        .into_iter()
        .map(|line| format!("{} {}", line.word(), with_balancer.sum(line, Level::Expected)))
        .collect();
    assert_eq!(
        lines,
        [
            "compute 48.00",
            "database 15.15",
            "cache 15.00",
            "storage 5.00",
            "bandwidth 0.00",
            "load_balancer 12.00"
        ]
    );
    let notes = with_balancer.notes(Level::Expected);
    assert!(notes.contains(&"Bandwidth estimate based on 500GB/month".to_owned()), "{notes:?}");
    assert!(notes.contains(&"Storage estimate based on 100GB".to_owned()), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("672 hours")), "{notes:?}");
    let database = with_balancer.lines.iter().find(|part| part.line == Line::Database).unwrap();
    assert_eq!(
        (database.prices[0].source.as_str(), database.prices[0].as_of.as_deref(), database.grade()),
        ("db-2026", Some("2026-08-09 .. 2026-09-30"), Some(Grade::B))
    );
}

#[test]
fn the_document_s_own_book_gives_the_document_s_figures() {
    let theirs = book::embedded("saas-workflow-document").unwrap();
    let prices = Prices::embedded().with(Arc::clone(theirs));
    let usage = UsageProfile::named(prices.usage().unwrap()).unwrap();
    for (balancer, expected) in [(true, "105.00"), (false, "93.00")] {
        let bill = bill("digitalocean", document_items(balancer));
        let there = estimate(&bill, usage, &prices).value.unwrap();
        assert_eq!(total(&there), expected);
        assert_eq!(there.sum(Line::Bandwidth, Level::Expected).to_string(), "10.00");
        assert!(there.approximate(Level::Expected), "grade D is approximate");
        let here = estimate(&bill, web_app(), &Prices::embedded()).value.unwrap();
        let found: Vec<_> = differences(&here, &there, theirs, Level::Expected)
            .into_iter()
            .map(|found| {
                let there = found.there.map(|there| there.to_string());
                (found.line.word(), found.here.to_string(), there, found.why)
            })
            .collect();
        let mut expected = vec![
            (
                "database",
                "15.15".to_owned(),
                Some("15.00".to_owned()),
                vec!["managed-db db-s-1vcpu-1gb: 15.15 a node-month here (grade B, db-2026, 2026-08-09 .. 2026-09-30), 15 there (grade D, saas-workflow)".to_owned()],
            ),
            (
                "bandwidth",
                "0.00".to_owned(),
                Some("10.00".to_owned()),
                vec![
                    "bandwidth droplet-egress-overage: 0.01 a GiB here (grade A, do-docs, 2025-11-20 (page dates 2025-01-17..2025-09-30)), 0.02 there (grade D, saas-workflow)".to_owned(),
                    "bandwidth droplet-egress-overage: 0 GiB billed here, 500 there: 8000 GiB are included in other prices (droplet-transfer)".to_owned(),
                ],
            ),
        ];
        if balancer {
            expected.push((
                "load_balancer",
                "12.00".to_owned(),
                None,
                vec!["`saas-workflow-document` does not count it".to_owned()],
            ));
        }
        assert_eq!(found, expected);
    }
}

#[test]
fn hours_are_those_of_the_provider() {
    let gpu = priced(
        "digitalocean",
        vec![("a/b", digital(Line::Compute, "droplet", "gpu-h200x1-141gb", running(1)))],
    );
    // 3.44 × 672
    assert_eq!(total(&gpu), "2311.68");
    let ec2 =
        priced("aws", vec![("a/b", item(Line::Compute, "aws", "ec2", "t3.medium", "us-east-1", running(2)))]);
    // 2 × 0.0416 × 730
    assert_eq!(total(&ec2), "60.74");
    assert_eq!(ec2.lines[0].quantity.expected, d("1460"));
}

#[test]
fn egress_is_priced_in_steps() {
    let usage = web_app()
        .clone()
        .with(
            Figure::Metric(Metric::EgressGb),
            Levels { low: d("100"), expected: d("10240"), high: d("60000") },
        )
        .unwrap();
    for sku in ["internet-egress", "internet-egress-from-0GB"] {
        let egress =
            item(Line::Bandwidth, "aws", "data-transfer", sku, "us-east-1", used(Metric::EgressGb, None));
        let bill = bill("aws", vec![("a/b", egress)]);
        let estimate = estimate(&bill, &usage, &Prices::embedded()).value.unwrap();
        let amounts = Level::ALL.map(|level| estimate.total(level).to_string());
        // 10,240 × 0.09 + 40,960 × 0.085 + 8,800 × 0.07
        assert_eq!(amounts, ["9.00", "921.60", "5019.20"], "{sku}");
        assert_eq!(estimate.lines[0].prices.len(), 4);
        assert!(
            estimate
                .notes(Level::Low)
                .iter()
                .any(|note| note.contains("100 GB") && note.contains("not taken off"))
        );
    }
    let mut storage =
        item(Line::Storage, "aws", "s3", "standard-storage", "us-east-1", Quantity::Amount(d("60000")));
    storage.what = "a very large bucket".to_owned();
    let large = priced("aws", vec![("a/b", storage)]);
    assert!(
        large.lines[0].notes.iter().any(|note| note.contains("beyond 51200")),
        "{:?}",
        large.lines[0].notes
    );
}

#[test]
fn what_prices_include_is_shared_and_never_negative() {
    let egress = |key| {
        (
            key,
            digital(
                Line::Bandwidth,
                "bandwidth",
                "droplet-egress-overage",
                used(Metric::EgressGb, Some("pool")),
            ),
        )
    };
    let droplet = including(digital(Line::Compute, "droplet", "s-1vcpu-1gb", running(3)), "pool", 200);
    let estimate = priced("digitalocean", vec![("a/b", droplet), egress("c/d"), egress("e/f")]);
    let quantities: Vec<Levels<Decimal>> =
        estimate.lines.iter().filter(|p| p.line == Line::Bandwidth).map(|p| p.quantity).collect();
    // 600 are included: 50, 500 and 2,000 are caused twice.
    let of =
        |low: &str, expected: &str, high: &str| Levels { low: d(low), expected: d(expected), high: d(high) };
    assert_eq!(quantities, [of("0", "0", "1400"), of("0", "400", "2000")]);
}

#[test]
fn behind_a_delivery_network_traffic_is_counted_once() {
    let direct = || {
        item(
            Line::Bandwidth,
            "aws",
            "data-transfer",
            "internet-egress",
            "us-east-1",
            used(Metric::EgressGb, None),
        )
    };
    let delivered =
        item(Line::Cdn, "aws", "cloudfront", "egress-us-eu", "us-east-1", used(Metric::CdnGb, None));
    let both = priced("aws", vec![("a/b", direct()), ("c/d", delivered)]);
    let sum: Decimal = both.lines.iter().map(|part| part.quantity.expected).sum();
    assert_eq!(sum, d("500"));
    assert_eq!(both.lines[1].quantity.expected, d("300"), "60 %");
    let alone = priced("aws", vec![("a/b", direct())]);
    assert_eq!(alone.lines[0].quantity.expected, d("500"));
}

#[test]
fn a_share_is_a_share_of_another_price() {
    let droplet = digital(Line::Compute, "droplet", "s-2vcpu-4gb", running(2));
    let of = droplet.price.clone();
    let backup = digital(Line::Backups, "backup", "weekly", Quantity::ShareOf { of, running: d("2") });
    let estimate = priced("digitalocean", vec![("a/b", droplet), ("a/b", backup)]);
    assert_eq!(estimate.sum(Line::Backups, Level::Expected).to_string(), "9.60");
    let line = estimate.lines.iter().find(|part| part.line == Line::Backups).unwrap();
    assert!(line.approximate(), "the share is grade D");
    assert_eq!(line.prices.len(), 2, "the other price is named too");
}

#[test]
fn two_releases_side_by_side_are_a_line_of_their_own() {
    let mut task = item(Line::Compute, "aws", "fargate", "vcpu-hour-linux-x86", "us-east-1", running(2));
    task.per_release = true;
    let fargate = priced("aws", vec![("a/b", task)]);
    // 2 × 20 × 15 min = 10 h
    let overlap = fargate.lines.iter().find(|part| part.line == Line::Overlap).unwrap();
    assert_eq!((overlap.quantity.expected, overlap.unit.as_str()), (d("10"), "hour"));
    assert_eq!(fargate.sum(Line::Overlap, Level::Expected).to_string(), "0.40");
    assert_eq!(fargate.sum(Line::Compute, Level::Expected).to_string(), "59.10");
    let mut disk = item(Line::Compute, "aws", "ebs", "gp3", "us-east-1", Quantity::Amount(d("1000")));
    disk.per_release = true;
    // 0.08 × 1,000 are 80 a month of 730 hours: 5 h of it
    assert_eq!(priced("aws", vec![("a/b", disk)]).sum(Line::Overlap, Level::Expected).to_string(), "0.55");
    let mut container = digital(Line::Compute, "app-platform", "apps-s-1vcpu-1gb", running(1));
    container.per_release = true;
    let apps = priced("digitalocean", vec![("a/b", container)]);
    // 12 a month are 672 hours: 5 h of it
    assert_eq!(apps.sum(Line::Overlap, Level::Expected).to_string(), "0.09");
}

#[test]
fn what_has_no_price_is_an_error_that_names_it() {
    let (code, message, help) =
        refused("digitalocean", digital(Line::Compute, "droplet", "s-2vcpu-5gb", running(1)));
    assert_eq!(code, "VD0401");
    assert!(message.contains("droplet s-2vcpu-5gb (a/b)") && message.contains("`digitalocean`"), "{message}");
    assert!(help.unwrap().contains("did you mean `s-2vcpu-"));
    let (code, message, help) =
        refused("aws", item(Line::Compute, "aws", "ec2", "t3.medium", "us-eest-1", running(1)));
    assert_eq!(code, "VD0402");
    assert!(message.contains("us-eest-1"), "{message}");
    assert!(help.unwrap().contains("did you mean `us-east-1`?"));
    let (code, _, help) =
        refused("digitalocean", digital(Line::Database, "managed-db", "db-s-1vcpu-1gb", running(1)));
    assert_eq!(code, "VD0403");
    assert!(help.unwrap().contains("engine=pg"));
    let wrong = with(digital(Line::Database, "managed-db", "db-s-1vcpu-1gb", running(1)), "engine", "oracle");
    assert_eq!(refused("digitalocean", wrong).0, "VD0401");
    let (code, message, _) =
        refused("nowhere", item(Line::Compute, "nowhere", "vm", "small", "x", running(1)));
    assert_eq!(code, "VD0401");
    assert!(message.contains("no price book of `nowhere`"), "{message}");
    let share = Quantity::ShareOf {
        of: PriceKey { sku: "gone".to_owned(), ..digital(Line::Compute, "droplet", "x", running(1)).price },
        running: Decimal::ONE,
    };
    assert_eq!(refused("digitalocean", digital(Line::Backups, "backup", "weekly", share)).0, "VD0401");
}

#[test]
fn amounts_that_cannot_be_are_refused() {
    let droplet = |quantity| digital(Line::Compute, "droplet", "s-1vcpu-1gb", quantity);
    for quantity in [
        Quantity::Running(d("-1")),
        Quantity::Amount(d("-0.5")),
        Quantity::Amount(Decimal::MAX),
        Quantity::Usage { metric: Metric::EgressGb, factor: d("-1"), pool: None },
        Quantity::Usage { metric: Metric::EgressGb, factor: Decimal::MAX, pool: None },
    ] {
        assert_eq!(refused("digitalocean", droplet(quantity.clone())).0, "VD0411", "{quantity:?}");
    }
    let negative = {
        let mut droplet = including(droplet(running(1)), "pool", 1);
        droplet.includes[0].amount = d("-1");
        droplet
    };
    assert_eq!(refused("digitalocean", negative).0, "VD0411");
    // A month of something that is billed by the gigabyte means nothing.
    let egress = digital(Line::Bandwidth, "bandwidth", "droplet-egress-overage", running(1));
    assert_eq!(refused("digitalocean", egress).0, "VD0412");
    let many = Quantity::Amount(Decimal::MAX / d("10"));
    let huge = bill("digitalocean", (0..8).map(|_| ("a/b", droplet(many.clone()))).collect());
    assert!(estimate(&huge, web_app(), &Prices::embedded()).value.is_none());
}

#[test]
fn a_book_of_one_s_own_comes_first() {
    let text = r#"{"schema": "vrooli-deploy.prices/1", "provider": "aws", "currency": "USD",
        "sources": {"deal": {"what": "our contract", "as_of": "2026-10-01"}},
        "entries": [{"service": "data-transfer", "sku": "internet-egress", "unit": "GB", "usd": "0.01", "source": "deal", "confidence": "A"}]}"#;
    let book = book::read(Path::new("deal.json"), text.to_owned()).value.unwrap();
    let prices = Prices::embedded().with(Arc::new(book));
    let egress = item(
        Line::Bandwidth,
        "aws",
        "data-transfer",
        "internet-egress",
        "us-east-1",
        used(Metric::EgressGb, None),
    );
    let ec2 = item(Line::Compute, "aws", "ec2", "t3.medium", "us-east-1", running(1));
    let estimate =
        estimate(&bill("aws", vec![("a/b", egress), ("c/d", ec2)]), web_app(), &prices).value.unwrap();
    assert_eq!(estimate.sum(Line::Bandwidth, Level::Expected).to_string(), "5.00");
    let books: Vec<_> = estimate.books.iter().map(|book| book.name.as_str()).collect();
    assert_eq!(books, ["aws", "deal"]);
    assert_eq!(estimate.lines[1].prices[0].source_text, "our contract");
}

#[test]
fn machines_of_one_s_own_cost_what_their_owner_says() {
    let mut metal = bill("bare-metal", Vec::new());
    metal.servers = vec![
        Server { host: "one.example.com".to_owned(), monthly: Some(Money::usd(d("39.999"))) },
        Server { host: "two.example.com".to_owned(), monthly: None },
    ];
    let estimate = estimate(&metal, web_app(), &Prices::embedded()).value.unwrap();
    assert_eq!(total(&estimate), "40.00");
    assert!(!estimate.complete());
    let notes = estimate.notes(Level::Expected).join("\n");
    assert!(
        notes.contains("server two.example.com: unknown") && notes.contains("servers[1].monthly_usd"),
        "{notes}"
    );
}

#[test]
fn the_same_input_gives_the_same_estimate() {
    assert_eq!(priced("digitalocean", document_items(true)), priced("digitalocean", document_items(true)));
}
