use jiff::Timestamp;
use jiff::tz::TimeZone;
use vrooli_deploy_core::workspace::{OperationError, Workspace};
use vrooli_deploy_providers::prices::{self, RefreshOptions};

use super::context::Context;
use super::done::Done;
use crate::arguments::{Prices, PricesRefresh, PricesShow};
use crate::errors::Failure;
use crate::output::json::{BookLine, Line, PriceLine};
use crate::output::{price_rows, table};

/// The configured key that holds DigitalOcean's token; its variables are read too.
const TOKEN: &str = "do_token";

pub(crate) async fn run(context: &Context, args: &Prices) -> Result<Done, Failure> {
    let workspace = context.workspace().await?;
    match args {
        Prices::List => list(context, &workspace),
        Prices::Show(args) => show(context, &workspace, args),
        Prices::Refresh(args) => refresh(context, &workspace, args).await,
    }
}

fn list(context: &Context, workspace: &Workspace) -> Result<Done, Failure> {
    let console = &context.console;
    let books: Vec<BookLine> = workspace.price_books()?.iter().map(Into::into).collect();
    let rows: Vec<Vec<String>> = books.iter().map(BookLine::row).collect();
    console.result(&table(console.out, &["BOOK", "PROVIDER", "PRICES", "DATE", "ASKED", "FROM"], &rows));
    for book in books {
        console.line(&Line::PriceBook(book));
    }
    Ok(Done::read())
}

fn show(context: &Context, workspace: &Workspace, args: &PricesShow) -> Result<Done, Failure> {
    let console = &context.console;
    let book = workspace.price_book(&args.book)?;
    let wanted = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
    let prices: Vec<PriceLine> = book
        .prices()
        .iter()
        .filter(|price| wanted(&args.service, &price.service))
        .filter(|price| wanted(&args.region, &price.region) || matches!(&*price.region, "all" | "global"))
        .filter(|price| args.sku.as_ref().is_none_or(|text| price.sku.contains(text.as_str())))
        .map(|price| PriceLine::new(&book, price))
        .collect();
    if prices.is_empty() {
        console.note("no price of this book fits");
    } else {
        let head = ["SERVICE", "SKU", "REGION", "USD", "UNIT", "GRADE", "AS OF", "SOURCE", "COLUMNS"];
        console.result(&table(console.out, &head, &price_rows(&prices)));
    }
    for price in prices {
        console.line(&Line::Price(price));
    }
    Ok(Done::read())
}

async fn refresh(context: &Context, workspace: &Workspace, args: &PricesRefresh) -> Result<Done, Failure> {
    let configuration = workspace.configuration().await?;
    let token = configuration.value(TOKEN).map_err(OperationError::Secrets)?.map(|found| found.value);
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date().to_string();
    let options = RefreshOptions { api_url: args.api_url.clone(), token, today };
    let book = prices::refresh(&args.provider, &options).await.map_err(OperationError::Refresh)?;
    let path = workspace.keep_prices(&book)?;
    let console = &context.console;
    let message =
        format!("{} prices of `{}` are kept in {}", book.prices().len(), args.provider, path.display());
    console.line(&Line::Note { message: message.clone() });
    console.result(&message);
    Ok(Done::read())
}
