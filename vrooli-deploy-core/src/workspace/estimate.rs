//! What an app costs, and which prices that is said with. Nothing is changed but the books of
//! this workspace, and those only when they are refreshed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fitness::{usable, with_swaps};
use super::{OperationError, Target, Workspace};
use crate::cost::book::{self, embedded, embedded_books};
use crate::cost::{
    AssessOptions, Assessment, DEFAULT_USAGE, Decimal, Judgement, Level, PriceBook, Prices, UsageProfile,
    assess, read_usage_file,
};
use crate::diagnostics::{Diagnostic, rules};
use crate::manifest::SwapConfig;
use crate::names::{DependencyName, ProviderName};
use crate::profile::ProfileId;

/// Books that were refreshed lie here, in the state folder.
const FOLDER: &str = "prices";
/// The book that estimates are held against, line by line.
const AGAINST: &str = "saas-workflow-document";

/// The user's choices for an estimate.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct EstimateOptions {
    /// Another provider than the manifest's.
    pub provider: Option<ProviderName>,
    /// The same app on these too, side by side.
    pub compare: Vec<ProviderName>,
    /// `low`, `expected`, `high`, the name of a usage profile, or a file.
    pub usage: Option<String>,
    /// The name of a price book, or a file. It is asked before all others.
    pub prices: Option<String>,
    /// The most that it may cost a month, in US dollars.
    pub max_monthly: Option<Decimal>,
    /// Optional dependencies too.
    pub include_optional: bool,
    /// Dependencies to leave out.
    pub drop: Vec<DependencyName>,
    /// Another region than the manifest's, by the provider's name.
    pub region: Option<String>,
    /// Resources to put in the place of others, after the manifest's own swaps.
    pub swaps: Vec<SwapConfig>,
}

/// What an app costs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EstimateReport {
    /// The profile whose choices it was made with.
    pub profile: Option<ProfileId>,
    /// What it costs.
    pub assessment: Assessment,
    /// What users cause.
    pub usage: UsageProfile,
    /// What was noticed on the way.
    pub diagnostics: Vec<Diagnostic>,
}

impl EstimateReport {
    /// Lets the estimate pass, or says why not.
    ///
    /// # Errors
    /// [`OperationError::Budget`] (exit 7) when there is a budget and it is not known to be kept.
    pub fn gate(&self) -> Result<(), OperationError> {
        match &self.assessment.judgement {
            Some(judgement) if !judgement.passes() => {
                Err(OperationError::Budget(Box::new(Judgement::clone(judgement))))
            }
            _ => Ok(()),
        }
    }
}

/// A price book that can be asked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BookSummary {
    /// The book.
    pub book: Arc<PriceBook>,
    /// The file that it was read from; `None`: it is part of the program.
    pub file: Option<PathBuf>,
    /// Is it asked without being chosen?
    pub asked: bool,
}

impl Workspace {
    /// What an app costs a month. Makes no call.
    ///
    /// # Errors
    /// When the input, a price book or a usage profile cannot be used, or something has no price.
    /// A budget that is not kept is no error here: see [`EstimateReport::gate`].
    pub fn estimate(
        &self,
        target: &Target,
        options: &EstimateOptions,
    ) -> Result<EstimateReport, OperationError> {
        let target = &with_swaps(target, &options.swaps);
        let loaded = usable(target)?;
        let (prices, level, usage) = self.priced_with(options.usage.as_deref(), options.prices.as_deref())?;
        let mut assess_options = AssessOptions::new(&usage, &prices);
        assess_options.provider.clone_from(&options.provider);
        assess_options.region.clone_from(&options.region);
        assess_options.compare.clone_from(&options.compare);
        assess_options.level = level;
        assess_options.max_monthly = options.max_monthly;
        assess_options.include_optional = options.include_optional || target.include_optional();
        assess_options.drop.clone_from(&options.drop);
        // A book is not held against itself.
        let chosen = prices.layers().any(|book| book.name == AGAINST);
        assess_options.against = embedded(AGAINST).filter(|_| !chosen).cloned();
        let mut diagnostics = target.diagnostics.clone();
        let checked = assess(self.registry(), &target.stack, loaded, &assess_options);
        diagnostics.extend(checked.diagnostics);
        match checked.value {
            Some(assessment) => {
                let profile = target.profile.as_ref().map(|version| version.id);
                Ok(EstimateReport { profile, assessment, usage, diagnostics })
            }
            None => Err(OperationError::Input(diagnostics)),
        }
    }

    /// What is asked for prices and for usage, with a book and a usage of the user's choice.
    pub(super) fn priced_with(
        &self,
        used: Option<&str>,
        book: Option<&str>,
    ) -> Result<(Prices, Level, UsageProfile), OperationError> {
        let mut prices = self.prices()?;
        if let Some(choice) = book {
            prices = prices.with(self.price_book(choice)?);
        }
        let (level, usage) = usage(used, &prices)?;
        Ok((prices, level, usage))
    }

    /// The books that are asked when none is chosen: those that were refreshed here, then those
    /// of the program.
    ///
    /// # Errors
    /// When a refreshed book is damaged: it is not passed over in silence.
    pub fn prices(&self) -> Result<Prices, OperationError> {
        let refreshed = self.refreshed()?;
        Ok(refreshed.into_iter().fold(Prices::embedded(), |prices, (_, book)| prices.with(Arc::new(book))))
    }

    /// All books that can be asked for by name: those that were refreshed here, then those of
    /// the program.
    ///
    /// # Errors
    /// When a refreshed book is damaged.
    pub fn price_books(&self) -> Result<Vec<BookSummary>, OperationError> {
        let mut books: Vec<BookSummary> = self
            .refreshed()?
            .into_iter()
            .map(|(file, book)| BookSummary { book: Arc::new(book), file: Some(file), asked: true })
            .collect();
        books.extend(embedded_books().iter().filter_map(|embedded| {
            let book = Arc::clone(embedded.book()?);
            Some(BookSummary { book, file: None, asked: embedded.list })
        }));
        Ok(books)
    }

    /// The book of that name, or in that file.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn price_book(&self, choice: &str) -> Result<Arc<PriceBook>, OperationError> {
        let books = self.price_books()?;
        if let Some(found) = books.iter().find(|summary| summary.book.name == choice) {
            return Ok(Arc::clone(&found.book));
        }
        let path = Path::new(choice);
        if path.exists() {
            let (book, _) = book::read_file(path).into_result().map_err(OperationError::Input)?;
            return Ok(Arc::new(book));
        }
        let names: Vec<&str> = books.iter().map(|summary| summary.book.name.as_str()).collect();
        let near = crate::manifest::shape::nearest(choice, names.iter().copied());
        let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        let diagnostic = rules::UNKNOWN_PRICE_BOOK
            .diagnostic(format!("there is no price book `{choice}`, and no file of that name"))
            .help(format!("{near}there are {}", names.join(", ")));
        Err(OperationError::Input(vec![diagnostic]))
    }

    /// Keeps a book in the state folder. From then on it is asked before those of the program;
    /// one of the same name is replaced, whole or not at all.
    ///
    /// # Errors
    /// When its name is none for a file, or the file cannot be written; what was there stays.
    pub fn keep_prices(&self, book: &PriceBook) -> Result<PathBuf, OperationError> {
        let folder = self.dir().join(FOLDER);
        let sound = ProviderName::new(book.name.as_str()).is_ok();
        let path = folder.join(format!("{}.json", book.name));
        let fail = |e: std::io::Error| OperationError::Io { path: path.clone(), message: e.to_string() };
        if !sound {
            return Err(fail(std::io::Error::other("a book that is kept needs a plain name")));
        }
        std::fs::create_dir_all(&folder).map_err(fail)?;
        let draft = folder.join(format!(".{}-{}", book.name, std::process::id()));
        let write = || {
            let mut file = std::fs::File::create(&draft)?;
            file.write_all(book::write(book).as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)
        };
        write().map_err(|error| {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(&draft);
            fail(error)
        })?;
        Ok(path)
    }

    fn refreshed(&self) -> Result<Vec<(PathBuf, PriceBook)>, OperationError> {
        let folder = self.dir().join(FOLDER);
        let fail = |e: std::io::Error| OperationError::Io { path: folder.clone(), message: e.to_string() };
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fail(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(fail)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                files.push(path);
            }
        }
        // The same order whatever the file system says.
        files.sort();
        files
            .into_iter()
            .map(|path| {
                let (book, _) = book::read_file(&path).into_result().map_err(|mut found| {
                    for diagnostic in &mut found {
                        diagnostic.help.get_or_insert_with(|| {
                            "refresh it anew with `vrooli-deploy prices refresh`, or remove the file"
                                .to_owned()
                        });
                    }
                    OperationError::Input(found)
                })?;
                Ok((path, book))
            })
            .collect()
    }
}

/// These prices with the usage that they are meant for.
pub(super) fn usual(prices: Prices) -> Result<(Prices, Level, UsageProfile), OperationError> {
    let (level, usage) = usage(None, &prices)?;
    Ok((prices, level, usage))
}

/// What `--usage` means: a level, the name of a profile, or a file.
fn usage(choice: Option<&str>, prices: &Prices) -> Result<(Level, UsageProfile), OperationError> {
    let refuse = |diagnostic: Box<Diagnostic>| OperationError::Input(vec![*diagnostic]);
    let usual = || {
        let name = prices.usage().unwrap_or(DEFAULT_USAGE);
        UsageProfile::find(name).cloned().map_err(refuse)
    };
    let Some(choice) = choice else { return Ok((Level::Expected, usual()?)) };
    if let Some(level) = Level::ALL.into_iter().find(|level| level.as_str() == choice) {
        return Ok((level, usual()?));
    }
    if UsageProfile::named(choice).is_none() && Path::new(choice).exists() {
        let read = read_usage_file(Path::new(choice)).into_result();
        return read.map(|(profile, _)| (Level::Expected, profile)).map_err(OperationError::Input);
    }
    UsageProfile::find(choice).map(|profile| (Level::Expected, profile.clone())).map_err(refuse)
}
