//! The table of codes. To add one: a line here and a file `docs/errors/VDxxxx.md`.

use super::{Code, Diagnostic, Severity};

/// What is known about a code.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The code.
    pub code: Code,
    /// A short name in kebab-case, for machines and tables.
    pub name: &'static str,
    /// How bad it is unless the place that finds it says otherwise.
    pub severity: Severity,
    /// Cause, example and fix, in markdown.
    pub docs: &'static str,
}

const fn number(digits: &str) -> u16 {
    let bytes = digits.as_bytes();
    let mut value = 0;
    let mut at = 0;
    while at < bytes.len() {
        value = value * 10 + (bytes[at] - b'0') as u16;
        at += 1;
    }
    value
}

macro_rules! rules {
    ($($constant:ident $digits:literal $name:literal $severity:ident;)*) => {
        $(
            #[doc = concat!("`VD", $digits, "`: ", $name, ".")]
            pub const $constant: Code = Code(number($digits));
        )*

        /// All rules, by code.
        pub static RULES: &[Rule] = &[$(
            Rule {
                code: $constant,
                name: $name,
                severity: Severity::$severity,
                docs: include_str!(concat!(
                    env!("CARGO_MANIFEST_DIR"), "/../docs/errors/VD", $digits, ".md"
                )),
            },
        )*];
    };
}

rules! {
    // 01: reading a file
    SYNTAX "0101" "syntax-error" Error;
    DUPLICATE_KEY "0102" "duplicate-key" Error;
    UNREADABLE "0103" "unreadable-file" Error;
    NOTHING_TO_DEPLOY "0104" "nothing-to-deploy" Error;
    FOREIGN_DIALECT "0105" "foreign-dialect" Error;
    SEVERAL_MANIFESTS "0106" "several-manifests" Warning;

    // 020x-021x: the manifest
    UNKNOWN_KEY "0201" "unknown-key" Warning;
    WRONG_TYPE "0202" "wrong-type" Error;
    MISSING_FIELD "0203" "missing-field" Error;
    INVALID_VALUE "0204" "invalid-value" Error;
    SCHEMA_VERSION "0205" "unsupported-schema-version" Error;
    UNKNOWN_PROVIDER "0206" "unknown-provider" Error;
    UNKNOWN_TIER "0207" "unknown-tier" Error;
    UNKNOWN_STRATEGY "0208" "unknown-strategy" Error;
    PORT "0209" "port-problem" Error;
    UNKNOWN_REFERENCE "0210" "unknown-reference" Error;
    NEEDS_CYCLE "0211" "needs-cycle" Error;
    PATH_OUTSIDE "0212" "path-outside" Error;
    PLACEHOLDER "0213" "placeholder" Error;
    PLAIN_SECRET "0214" "plain-secret" Error;
    ROUTE "0215" "route-problem" Error;
    SCALING "0216" "scaling-problem" Error;
    BUILD_CONTEXT "0217" "build-context" Error;
    NO_SERVICE "0218" "no-service" Error;
    FILE_MISSING "0219" "file-missing" Warning;

    // 022x-024x: importing `.vrooli/service.json`
    NAME_CHANGED "0220" "name-changed" Info;
    STEP_DROPPED "0221" "step-dropped" Info;
    STEP_NEEDS_PLATFORM "0222" "step-needs-platform" Warning;
    RUNS_IN_BACKGROUND "0223" "runs-in-background" Warning;
    KILLS_BY_PATTERN "0224" "kills-by-pattern" Warning;
    TEMPLATE_REFERENCE "0225" "template-reference" Warning;
    CREDENTIAL_IN_COMMAND "0226" "credential-in-command" Warning;
    NOTHING_RUNS "0227" "nothing-runs" Error;
    PORT_IMPORT "0228" "port-import" Info;
    HEALTH_IMPORT "0229" "health-import" Info;
    ODD_SHAPE "0230" "odd-shape" Info;
    SCENARIO_AS_RESOURCE "0231" "scenario-as-resource" Info;
    CONTRADICTION "0232" "contradiction" Warning;
    UNDECLARED_FILE "0233" "undeclared-file" Warning;
    INITIALIZATION_IMPORT "0234" "initialization-import" Info;
    METADATA_NOT_USED "0235" "metadata-not-used" Info;
    HEURISTIC_CONFIRMED "0236" "heuristic-confirmed" Info;
    CONDITION_NOT_KEPT "0237" "condition-not-kept" Info;
    API_ROUTE "0238" "api-route" Info;

    // 025x: what a command is about
    UNKNOWN_TARGET "0250" "unknown-target" Error;
    AMBIGUOUS_TARGET "0251" "ambiguous-target" Error;
    OTHER_SOURCE "0252" "name-is-taken" Error;
    NOTHING_TO_ACT_ON "0253" "nothing-to-act-on" Error;

    // 030x: requirements
    DEAD_RESOURCE "0301" "dead-resource" Error;
    UNKNOWN_RESOURCE "0302" "unknown-resource" Warning;
    HEURISTIC_RESOURCE "0303" "heuristic-resource" Info;
    OPTIONAL_RESOURCE "0304" "optional-resource" Info;
    SCENARIO_MISSING "0305" "scenario-missing" Error;
    SCENARIO_CYCLE "0306" "scenario-cycle" Error;
    DROP_WITHOUT_TARGET "0307" "drop-without-target" Warning;
    SCENARIO_VERSION "0308" "scenario-version" Error;
    VERSION_UNREADABLE "0309" "version-unreadable" Info;
    METADATA_ORPHAN "0310" "metadata-orphan" Info;
    SWAP_WITHOUT_TARGET "0311" "swap-without-target" Warning;
    SWAP_UNKNOWN "0312" "swap-unknown" Error;
    SWAP_REFUSED "0313" "swap-refused" Error;
    SWAP_UNUSUAL "0314" "swap-unusual" Warning;
    SWAP_LOSES_FILES "0315" "swap-loses-files" Warning;

    // 033x: what makes a deployment impossible
    LICENCE_FORBIDS "0330" "licence-forbids-hosting" Error;
    RESIDENCY "0331" "data-residency" Error;
    COMPLIANCE "0332" "compliance-unconfirmed" Error;
    GPU_WITHOUT_BUDGET "0333" "gpu-without-budget" Error;
    BLOCKED_BY_SECRET "0334" "infrastructure-secret-unresolved" Error;
    BLOCKED_BY_COST "0335" "cost-over-budget" Error;
    TIER_UNSUPPORTED "0336" "not-supported-in-tier" Error;
    DECLARED_BLOCKED "0337" "declared-blocked" Error;

    // 034x: fitness
    FITNESS_TOO_LOW "0340" "fitness-too-low" Error;
    FITNESS_BLOCKED "0341" "fitness-blocked" Error;
    POLICY "0342" "unusable-policy" Error;
    OVERRIDE_NOT_USED "0343" "override-not-used" Info;

    // 038x-039x: validation
    VALIDATION_FAILED "0380" "validation-failed" Error;
    RESOURCE_LIMITS "0381" "resource-limits" Warning;
    DATABASE_WITHOUT_TLS "0382" "database-without-tls" Error;
    POOL_OVER_LIMIT "0383" "pool-over-limit" Warning;
    SQL_RUNS_ONCE "0384" "sql-runs-once" Warning;
    SQL_MAKES_DATABASE "0385" "sql-makes-database" Error;
    SQL_SEED_REPEATS "0386" "sql-seed-repeats" Warning;
    NETWORK_NOT_SHARED "0387" "network-not-shared" Error;
    HEALTH_ASKS_OTHERS "0388" "health-asks-others" Warning;
    HEALTH_DEGRADES "0389" "health-degrades" Warning;
    HEALTH_SAYS_LITTLE "0390" "health-says-little" Warning;
    SQL_UNREADABLE "0391" "sql-unreadable" Warning;
    DEPENDENCIES "0392" "dependencies" Error;

    // 040x: prices
    UNKNOWN_PRICE "0401" "unknown-price" Error;
    UNKNOWN_PRICE_REGION "0402" "unknown-price-region" Error;
    AMBIGUOUS_PRICE "0403" "ambiguous-price" Error;
    PRICE_BOOK "0404" "price-book" Error;
    PRICE_BOOK_VERSION "0405" "price-book-is-newer" Error;
    WRONG_CURRENCY "0406" "wrong-currency" Error;
    UNKNOWN_PRICE_BOOK "0407" "unknown-price-book" Error;
    USAGE_VALUE "0408" "usage-value" Error;
    UNKNOWN_USAGE "0409" "unknown-usage-profile" Error;
    USAGE_KEY "0410" "usage-key" Error;

    // 041x: estimates
    AMOUNT "0411" "unusable-amount" Error;
    PRICE_UNIT "0412" "price-unit" Error;
    KIND_NOT_PRICED "0413" "kind-not-priced" Error;
    SERVER_COST "0414" "server-cost" Error;
    NOT_ESTIMATED "0415" "nothing-to-estimate" Error;

    // 042x: the budget
    OVER_BUDGET "0420" "over-budget" Error;
    BUDGET_UNKNOWN "0421" "budget-cannot-be-judged" Error;

    // 043x: refreshing prices
    NO_PRICE_API "0430" "no-price-api" Error;
    PRICES_UNREACHABLE "0431" "prices-unreachable" Error;
    PRICES_ANSWER "0432" "prices-answer" Error;

    // 050x: plans
    SPEC_NOT_TAKEN "0501" "spec-not-taken" Error;
    RESOURCE_CYCLE "0502" "resource-cycle" Error;
    RESOURCE_REFERENCE "0503" "resource-reference" Error;
    RESOURCE_UNSEEN "0504" "resource-unseen" Error;
    RESOURCE_PROTECTED "0505" "resource-protected" Error;
    RESOURCE_DOWNTIME "0506" "resource-downtime" Error;
    RESOURCE_OWNERSHIP "0507" "resource-ownership" Error;
    PLAN_UNSOUND "0508" "plan-unsound" Error;
    PLAN_SECRET "0509" "plan-holds-secret" Error;
    OVER_QUOTA "0510" "over-quota" Error;
    ENDS_APP "0511" "ends-app" Error;

    // 053x: gates and saved plans
    DATA_PROTECTED "0530" "data-is-protected" Error;
    PLAN_CHANGED "0531" "plan-has-changed" Error;
    STRATEGY "0532" "strategy-cannot-be-followed" Error;
    NOBODY_TO_ASK "0533" "nobody-to-ask" Error;
    SAVED_PLAN "0534" "saved-plan-cannot-be-used" Error;

    // 056x: strategies and migrations
    STRATEGY_OPTION "0560" "strategy-option" Error;
    IRREVERSIBLE_SQL "0561" "irreversible-sql" Warning;
    ROLLBACK_ACROSS "0562" "rollback-across-irreversible-sql" Error;

    // 06: runs and the journal
    JOURNAL_UNWRITABLE "0601" "journal-unwritable" Error;
    RUN_FENCED "0602" "run-fenced" Error;
    PLAN_OPEN "0603" "plan-open" Error;
    PLAN_REFUSED "0604" "plan-refused" Error;
    CALL_UNANSWERED "0605" "call-unanswered" Error;
    STEP_UNKNOWN "0606" "step-unknown" Error;
    SECRET_LOST "0607" "secret-lost" Error;
    UNIT_UNHEALTHY "0608" "unit-unhealthy" Error;
    SMOKE_FAILED "0609" "smoke-failed" Error;
    WATCH_FAILED "0610" "watch-failed" Error;
    STEP_INTERRUPTED "0611" "step-interrupted" Error;
    OUTPUT_MISSING "0612" "output-missing" Error;
    OBJECT_GONE "0613" "object-gone" Error;
    SECRET_UNSTORED "0614" "secret-unstored" Error;
    JOURNAL_DAMAGED "0615" "journal-damaged" Error;
    UNDO_FAILED "0616" "undo-failed" Error;
    VERDICT_FAILED "0660" "verdict-failed" Error;
    WATCH_ENDED "0661" "watch-ended" Error;
    WATCH_UNDECIDED "0662" "watch-undecided" Error;
    RELEASE_ABORTED "0663" "release-aborted" Error;
    WENT_BACK "0664" "went-back-by-itself" Error;
    NOT_WAITING "0665" "nothing-waits" Error;

    // 07: providers, by the kind of their error
    PROVIDER_MISSING "0701" "provider-not-in-this-build" Error;
    PROVIDER_CONFIG "0702" "provider-config" Error;
    PROVIDER_AUTH "0703" "provider-auth" Error;
    PROVIDER_PERMISSION "0704" "provider-permission" Error;
    PROVIDER_NOT_FOUND "0705" "provider-not-found" Error;
    PROVIDER_ALREADY_EXISTS "0706" "provider-already-exists" Error;
    PROVIDER_CONFLICT "0707" "provider-conflict" Error;
    PROVIDER_QUOTA "0708" "provider-quota" Error;
    PROVIDER_RATE_LIMITED "0709" "provider-rate-limited" Error;
    PROVIDER_UNSUPPORTED "0710" "provider-unsupported" Error;
    PROGRAM_MISSING "0711" "missing-program" Error;
    APP_FAILED "0712" "app-failed" Error;
    PROVIDER_TIMEOUT "0713" "provider-timeout" Error;
    PROVIDER_UNAVAILABLE "0714" "provider-unavailable" Error;
    PROVIDER_AMBIGUOUS "0715" "provider-ambiguous" Error;
    PROVIDER_CANCELLED "0716" "provider-cancelled" Error;
    PROVIDER_FENCED "0717" "provider-fenced" Error;
    PROVIDER_UNEXPECTED "0718" "provider-unexpected" Error;

    // 074x: this machine
    RESOURCE_NOT_HERE "0741" "resource-not-here" Error;
    RESOURCE_ELSEWHERE "0742" "resource-pointed-elsewhere" Info;
    RESOURCE_UNUSABLE "0743" "unusable-name" Error;
    APPLIED_FILE_CHANGED "0744" "applied-file-changed" Warning;
    STATEMENTS_LEFT_OUT "0746" "statements-left-out" Info;
    DATABASE_NOT_OURS "0747" "database-not-ours" Warning;
    NO_WAY_TO_RUN "0748" "no-programs-and-no-engine" Error;
    SERVER_STAYS "0749" "server-stays-as-it-was-made" Info;

    // 076x-078x: clouds and servers
    RESOURCE_NOT_IN_CLOUD "0760" "resource-not-in-cloud" Error;
    RESOURCE_BY_API "0761" "resource-needs-nothing" Warning;
    SIZE_CHOSEN "0762" "size-was-chosen" Info;
    UNKNOWN_SIZE "0763" "unknown-size" Error;
    UNKNOWN_REGION "0764" "unknown-region" Error;
    REGION_MISMATCH "0765" "regions-differ" Warning;
    COMPUTE_TYPE "0766" "unknown-compute-type" Error;
    PART_TYPE "0767" "unknown-kind-of-resource" Error;
    ENGINE_VERSION "0768" "engine-version" Error;
    EXTENSION "0769" "database-extension" Warning;
    COUNT "0770" "count-not-possible" Error;
    CONNECTIONS "0771" "database-connections" Info;
    TLS "0772" "certificate-problem" Warning;
    ADDED "0773" "added-by-the-provider" Info;
    ENGINE_RENAMED "0774" "engine-has-another-name" Info;
    CDN "0775" "content-network-problem" Warning;
    DATA_FILES "0776" "files-of-the-app" Warning;
    NO_PRICES "0777" "prices-not-known" Warning;
    NATIVE_MISSING "0778" "native-half-missing" Error;
    DELEGATION "0779" "domain-must-be-delegated" Info;
    NO_SERVERS "0780" "no-servers" Error;
    SERVER_PRICE "0781" "server-without-price" Warning;
    SERVER_ROLE "0782" "unknown-server-role" Error;
    NOT_SCALED "0783" "nothing-scales-it" Warning;
    CUSTOMER_KEY "0784" "no-keys-of-ones-own" Error;
    NO_BUDGET "0785" "no-budgets" Error;
    NO_MANAGED_PASSWORD "0786" "no-password-kept-by-the-provider" Error;
    ROUTE_TAKEN "0787" "route-is-another-apps" Error;

    // 08: secrets
    SECRET_STORE_FILE "0801" "secret-store-cannot-be-used" Error;
    SECRET_STORE_DAMAGED "0802" "secret-store-is-damaged" Error;
    SECRET_STORE_KEY "0803" "secret-store-key" Error;
    SECRET_STORE_VERSION "0804" "secret-store-is-newer" Error;
    SECRET_NOT_FOUND "0805" "no-such-secret" Error;
    SECRET_MISSING "0810" "secret-missing" Error;

    // 0815-0834: which secrets an app has, and where their values come from
    SECRET_FORMAT "0815" "secret-format" Error;
    SECRET_FORMAT_UNREADABLE "0816" "secret-format-cannot-be-checked" Warning;
    SECRET_UNRESOLVED "0817" "secret-unresolved" Error;
    SECRET_WORD "0818" "unknown-word-about-a-secret" Warning;
    SECRET_METADATA "0819" "odd-secret-metadata" Info;
    SECRET_KEPT "0820" "stored-secret-kept" Warning;
    VAULT_REFUSED "0821" "vault-refuses" Error;
    VAULT_NOT_FOUND "0822" "not-in-vault" Error;
    VAULT_UNREACHABLE "0823" "vault-cannot-be-reached" Error;
    VAULT_TLS "0824" "vault-needs-tls" Error;
    VAULT_TOKEN "0825" "no-vault-token" Error;
    VAULT_ANSWER "0826" "no-vault-answers" Error;
    VAULT_ADDRESS "0827" "vault-address" Error;
    SECRET_UNKNOWN "0828" "no-such-secret-of-the-app" Error;
    SECRET_FOLLOWS "0829" "secret-is-not-set-by-hand" Error;
    SECRET_IN_HISTORY "0830" "secret-in-the-shells-history" Warning;
    SECRET_GENERATOR "0831" "secret-generator" Warning;
    VAULT_PLAIN_TEXT "0832" "vault-in-plain-text" Warning;
    SECRET_VALUE_IN_FILE "0833" "secret-value-in-metadata" Warning;
    SECRET_VALUE "0834" "secret-value-cannot-be-used" Error;

    // 0900-0969: hosts of the user's own, over SSH
    HOST_KEY_UNKNOWN "0900" "host-key-unknown" Error;
    HOST_KEY_CHANGED "0901" "host-key-changed" Error;
    HOST_KEY_OTHER "0902" "host-key-is-another" Error;
    HOST_REFUSES "0903" "host-refuses-us" Error;
    HOST_UNREACHABLE "0904" "host-unreachable" Error;
    HOST_NO_ANSWER "0905" "host-does-not-answer" Error;
    CONNECTION_LOST "0906" "connection-lost" Error;
    HOST_NO_ROOT "0907" "no-root-on-host" Error;
    PHASE_TOO_LONG "0908" "phase-took-too-long" Error;
    PHASE_FAILED "0909" "phase-failed" Error;
    SSH_UNUSABLE "0910" "ssh-cannot-be-used" Error;
    HOST_ANSWER "0911" "host-answer-unreadable" Error;
    HOSTS_FILE "0912" "hosts-file-unusable" Error;
    PHASE_CANCELLED "0913" "host-work-stopped" Error;
    HOST_NAME "0914" "host-name" Error;
    PREFLIGHT_FAILED "0915" "preflight-failed" Error;
    HOSTS_FAILED "0916" "hosts-cannot-be-used" Error;
    NO_HOSTS "0917" "no-hosts" Error;
    HOST_NO_ROOM "0918" "no-room-on-host" Error;
    HOST_OTHER_STATE "0919" "stack-of-another-state" Error;
    NO_RELEASES "0920" "no-releases-in-this-build" Error;
    HOST_HELD "0921" "host-is-held" Error;
    HOST_FENCED "0922" "newer-run-on-host" Error;
    HOST_RECORD "0923" "host-record-unusable" Error;
    HOST_STEP "0924" "step-on-host-failed" Error;
    HOST_TAKEN "0925" "taken-on-host" Error;
    HOST_LOST "0926" "host-was-given-up" Error;
    HOST_NEWER "0927" "newer-program-on-host" Error;
    ARTEFACT_LEADS_OUTSIDE "0930" "artefact-leads-outside" Error;
    ARTEFACT_UNPACKABLE "0931" "artefact-cannot-be-packed" Error;
    HOST_NO_DOCKER "0932" "no-docker-on-host" Error;
    HOST_NO_ACCOUNT "0933" "no-account-on-host" Error;
    RELEASE_IN_USE "0934" "release-folder-in-use" Error;
    STORE_DAMAGED "0935" "store-does-not-keep" Error;
    PROGRAM_MISFIT "0936" "no-program-for-host" Error;
    SUPERVISOR_UNIT "0937" "supervisor-does-not-start" Error;
    HOST_IN_USE "0938" "host-still-used" Error;
    RELEASE_MISFIT "0939" "release-does-not-run-on-host" Error;
    CERTIFICATE_NO_ADDRESS "0940" "name-has-no-address" Error;
    CERTIFICATE_POINTS_ELSEWHERE "0941" "name-points-elsewhere" Error;
    AUTHORITY_UNREACHABLE "0942" "certificate-authority-unreachable" Error;
    AUTHORITY_REFUSED "0943" "certificate-refused" Error;
    AUTHORITY_LIMIT "0944" "certificate-rate-limit" Error;
    CERTIFICATE_UNUSABLE "0945" "certificate-unusable" Error;
    CERTIFICATE_STATE "0946" "certificate-state-unusable" Error;
    CERTIFICATE_EXPIRES "0947" "certificate-not-renewed" Warning;
    CERTIFICATE_NAME "0948" "no-name-for-a-certificate" Error;
    CERTIFICATE_NOT_PLACED "0949" "certificate-not-on-all-hosts" Error;
    POSTGRES_MAJOR "0950" "another-major-version" Error;
    NO_BACKUP "0951" "no-such-backup" Error;
    NO_MIGRATIONS "0952" "files-are-not-applied" Error;
    ACME_TERMS "0953" "terms-of-service-not-agreed" Warning;
    OWN_CERTIFICATE "0954" "own-certificate-not-named" Error;
    NO_TLS "0955" "program-without-tls" Warning;
    NOT_SECURE "0956" "not-served-by-tls" Warning;
    IMAGES "0957" "image-or-build" Error;
    BASE_IMAGE "0958" "no-dockerfile" Error;
    NO_BUILDER "0959" "nothing-builds-images" Error;
    NOT_RENDERED "0960" "not-rendered" Warning;
    CANNOT_RENDER "0961" "cannot-be-rendered" Error;

    // 0970-0979: writing a stack down for other tools
    RENDER_FORMAT "0970" "no-such-format" Error;
    RENDER_FOREIGN "0971" "not-our-file" Error;
    RENDER_OTHER_FORMAT "0972" "folder-of-another-format" Error;
    RENDER_FOLDER "0973" "folder-cannot-be-written" Error;

    // 0974-0989: lost states and backups
    NOT_TAKEN_OVER "0974" "not-taken-over" Error;
    NO_LEDGER "0975" "nothing-keeps-records" Error;
    NO_BACKUPS "0976" "nothing-makes-backups" Error;
    NO_CENSUS "0977" "nothing-lists-marks" Error;

    // 10: state and lease; 1000 and 1004-1009: calls to clouds
    NOT_MADE_YET "1000" "kind-not-made-yet" Error;
    STATE_FILE "1001" "state-cannot-be-used" Error;
    STATE_DAMAGED "1002" "state-is-damaged" Error;
    STATE_VERSION "1003" "state-is-newer" Error;
    NO_CREDENTIALS "1004" "no-cloud-credentials" Error;
    NAME_TAKEN "1005" "name-is-taken-there" Error;
    LEASE_HELD "1010" "lease-is-held" Error;
    LEASE_LOST "1011" "lease-was-lost" Error;
    ENTRY_REFUSED "1012" "entry-cannot-follow" Error;

    // 105x-107x: profiles, overlays, configuration
    PROFILE_UNKNOWN "1050" "unknown-profile" Error;
    PROFILE_NAME_TAKEN "1051" "profile-name-is-taken" Error;
    CHANGED_MEANWHILE "1052" "changed-meanwhile" Error;
    PROFILE_SEVERAL "1053" "several-profiles" Error;
    PROFILE_FILE_VERSION "1054" "profile-file-version" Error;
    PROFILE_FILE_KEY "1055" "profile-file-key" Error;
    PROFILE_SETTING "1056" "unknown-profile-setting" Error;
    PROFILE_VALUE "1057" "profile-setting-value" Error;
    OTHER_PROVIDER "1058" "app-is-at-another-provider" Error;
    PROFILE_SCENARIO "1059" "profile-without-scenario" Error;
    OVERLAY "1060" "values-file-shape" Error;
    PROFILE_GONE "1061" "profile-is-gone" Warning;
    PROFILE_VERSION "1062" "no-such-profile-version" Error;
    PROFILE_STORED "1064" "stored-profile-cannot-be-read" Error;
    CONFIGURATION_KEY "1065" "unknown-configuration-key" Error;
    CONFIGURATION_VALUE "1067" "configuration-value" Error;
    CONFIGURATION_NO_VALUE "1068" "configuration-without-value" Error;
    NO_PROVIDER "1069" "no-provider-chosen" Error;
}

impl Code {
    /// What is known about it. `None` for a number that was never given out.
    #[must_use]
    pub fn rule(self) -> Option<&'static Rule> {
        RULES.iter().find(|rule| rule.code == self)
    }

    /// A diagnostic with this code and its usual severity.
    #[must_use]
    pub fn diagnostic(self, message: impl Into<String>) -> Diagnostic {
        let severity = self.rule().map_or(Severity::Error, |rule| rule.severity);
        Diagnostic::new(self, severity, message)
    }
}

/// The text of `docs/errors/VDxxxx.md`: cause, example, fix.
#[must_use]
pub fn explain(code: Code) -> Option<&'static str> {
    code.rule().map(|rule| rule.docs)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_rise_and_names_are_unique() {
        assert!(RULES.windows(2).all(|pair| pair[0].code < pair[1].code));
        let names: BTreeSet<_> = RULES.iter().map(|rule| rule.name).collect();
        assert_eq!(names.len(), RULES.len());
    }

    #[test]
    fn every_file_has_a_code_and_says_what_to_do() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors");
        let mut files = BTreeSet::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if let Some(code) = name.strip_suffix(".md").filter(|name| name.starts_with("VD")) {
                files.insert(code.parse::<Code>().unwrap());
            }
        }
        let codes: BTreeSet<_> = RULES.iter().map(|rule| rule.code).collect();
        assert_eq!(codes, files, "each code has one file in docs/errors, each file a line in the table");
        for rule in RULES {
            assert!(
                rule.docs.starts_with(&format!("# {}: ", rule.code)),
                "{} starts with its title",
                rule.code
            );
            for part in ["## Cause", "## Example", "## Fix"] {
                assert!(rule.docs.contains(part), "{} has `{part}`", rule.code);
            }
        }
    }

    #[test]
    fn explain_knows_its_codes_only() {
        assert!(explain(SYNTAX).is_some());
        assert!(explain(Code(9999)).is_none());
    }
}
