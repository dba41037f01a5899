//! The command `check`: validates a configuration and prints a summary.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use serde::Serialize;

use super::{BAD, Check, GOOD, print, to_json};
use crate::active_config::ActiveConfig;
use crate::budget::Budgets;
use crate::causes::Causes;
use crate::config::{Audit, Config, ConfigFault, CredentialConfig, SharedBudgets, Shares, TenantConfig};
use crate::ledger::Ledger;
use crate::operation::BudgetName;
use crate::reload::ConfigSource;
use crate::server::Certificates;
use crate::telemetry::audit;

pub(super) fn run(arguments: &Check) -> ExitCode {
    let (outcome, json) = (inspect(&arguments.file.config), arguments.json);
    match &outcome {
        Ok((config, certificates)) if json => print(&to_json(&JsonSummary::of(config, certificates))),
        Ok((config, certificates)) => print(&summary(config, certificates)),
        Err(faults) if json => print(&to_json(&JsonFaults { good: false, faults })),
        Err(faults) => faults.iter().for_each(|fault| {
            let _ = writeln!(std::io::stderr(), "{}", fault.text);
        }),
    }
    if outcome.is_ok() { GOOD } else { ExitCode::from(BAD) }
}

/// A fault as it is told.
#[derive(Serialize)]
struct Fault {
    /// Path of the key; `None` if the fault concerns no single one.
    key: Option<String>,
    file: Option<String>,
    line: Option<usize>,
    message: String,
    /// All of it as one line.
    #[serde(skip)]
    text: String,
}

impl From<&ConfigFault> for Fault {
    fn from(fault: &ConfigFault) -> Self {
        Self {
            key: Some(fault.path()).filter(|path| !path.is_empty()).map(str::to_owned),
            file: fault.file().map(str::to_owned),
            line: fault.line(),
            message: fault.message().to_owned(),
            text: fault.to_string(),
        }
    }
}

impl Fault {
    /// A fault of something that the configuration names.
    fn of(error: &(dyn Error + 'static)) -> Self {
        let text = Causes(error).to_string();
        Self { key: None, file: None, line: None, message: text.clone(), text }
    }

    /// A fault of the file that a key names.
    fn of_key(key: &str, error: &(dyn Error + 'static)) -> Self {
        let said = Causes(error).to_string();
        let message = said.strip_prefix(&format!("{key}: ")).unwrap_or(&said).to_owned();
        Self { key: Some(key.to_owned()), file: None, line: None, text: format!("{key}: {message}"), message }
    }
}

/// Checks everything that a start of the gateway would.
fn inspect(path: &Path) -> Result<(Config, Certificates), Vec<Fault>> {
    let one = |error: &(dyn Error + 'static)| vec![Fault::of(error)];
    let config =
        ConfigSource::inspect(path).map_err(|faults| faults.iter().map(Fault::from).collect::<Vec<_>>())?;
    // Reads certificates, keys and trust roots in the same way as a start of the gateway.
    ActiveConfig::new(&config, &Budgets::default()).map_err(|error| one(&error))?;
    let certificates = Certificates::read(&config.listeners)
        .map_err(|faults| faults.iter().map(|fault| Fault::of(fault)).collect::<Vec<_>>())?;
    let audit = config.audit.as_ref().and_then(|audit| audit::probe(audit).err());
    let state_file = config.state_file.as_deref().and_then(|path| Ledger::check(path).err());
    let faults: Vec<_> = audit
        .map(|error| Fault::of_key("audit.file", &error))
        .into_iter()
        .chain(state_file.map(|error| Fault::of_key("state_file", &error)))
        .collect();
    if faults.is_empty() { Ok((config, certificates)) } else { Err(faults) }
}

#[derive(Serialize)]
struct JsonFaults<'f> {
    good: bool,
    faults: &'f [Fault],
}

#[derive(Serialize)]
struct JsonSummary<'c> {
    good: bool,
    digest: &'c str,
    warnings: Vec<String>,
    listeners: Vec<String>,
    admin: String,
    state_file: Option<String>,
    tenants: BTreeMap<&'c str, BTreeMap<&'static str, &'c str>>,
    callers: BTreeMap<&'c str, JsonCaller<'c>>,
}

#[derive(Serialize)]
struct JsonCaller<'c> {
    tokens: usize,
    certificates: usize,
    tenants: &'c [String],
    allow: Vec<&'static str>,
}

impl<'c> JsonSummary<'c> {
    fn of(config: &'c Config, certificates: &Certificates) -> Self {
        let tenants = config.tenants.iter().map(|tenant| {
            let keys = credentials(tenant).map(|(kind, credential)| (kind, credential.key.as_str()));
            (&*tenant.name, keys.collect())
        });
        let callers = config.callers.iter().map(|caller| {
            let told = JsonCaller {
                tokens: caller.tokens.len(),
                certificates: caller.certificates.len(),
                tenants: &caller.tenants,
                allow: caller.allow.iter().map(|scope| scope.as_str()).collect(),
            };
            (&*caller.name, told)
        });
        Self {
            good: true,
            digest: &config.digest,
            warnings: warnings(config, certificates),
            listeners: config.listeners.iter().map(|listener| listener.address.to_string()).collect(),
            admin: config.admin.address.to_string(),
            state_file: config.state_file.as_ref().map(|path| path.display().to_string()),
            tenants: tenants.collect(),
            callers: callers.collect(),
        }
    }
}

fn warnings(config: &Config, certificates: &Certificates) -> Vec<String> {
    let notices = certificates.notices(SystemTime::now()).into_iter().map(|notice| notice.text);
    config.warnings.iter().cloned().chain(notices).collect()
}

/// The credentials that a tenant has, by their kinds.
fn credentials(tenant: &TenantConfig) -> impl Iterator<Item = (&'static str, &CredentialConfig)> {
    let all = [("app", Some(&tenant.app)), ("dev", tenant.dev.as_ref()), ("group", tenant.group.as_ref())];
    all.into_iter().filter_map(|(kind, credential)| Some((kind, credential?)))
}

fn summary(config: &Config, certificates: &Certificates) -> String {
    let mut text = format!("good: configuration {}\n", config.digest);
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        text.write_fmt(arguments).expect("writing to a String cannot fail");
        text.push('\n');
    };
    for warning in warnings(config, certificates) {
        line(format_args!("warning: {warning}"));
    }
    for listener in &config.listeners {
        line(format_args!(
            "listener {}{}",
            listener.address,
            if listener.tls.is_some() { " (TLS)" } else { "" }
        ));
    }
    line(format_args!("admin {}", config.admin.address));
    match (&config.state_file, &config.shared_budgets) {
        (Some(path), _) => line(format_args!("state file {}", path.display())),
        (None, Some(_)) => {}
        (None, None) => line(format_args!("no state file: budgets start empty")),
    }
    if let Some(SharedBudgets { shares: Shares { replicas, .. }, .. }) = &config.shared_budgets {
        line(format_args!("budgets shared by {replicas} replicas"));
    }
    match &config.audit {
        None => {}
        Some(Audit::Stderr) => line(format_args!("audit stderr")),
        Some(Audit::File(path)) => line(format_args!("audit {}", path.display())),
    }
    for tenant in &config.tenants {
        let keys =
            credentials(tenant).map(|(kind, credential)| format!("{kind} {}", credential.key.as_str()));
        let budgets = BudgetName::ALL.into_iter().filter_map(|name| {
            let limit = tenant.budgets.of(name)?;
            Some(format!("{} {}/{}", name.as_str(), limit.limit, humantime::format_duration(limit.window)))
        });
        let (keys, budgets) = (keys.collect::<Vec<_>>().join(", "), budgets.collect::<Vec<_>>().join(", "));
        line(format_args!("tenant {}: {keys}; budgets {budgets}", tenant.name));
    }
    for caller in &config.callers {
        let scopes = caller.allow.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ");
        let (tokens, certificates) = (caller.tokens.len(), caller.certificates.len());
        let certificates =
            if certificates > 0 { format!(", {certificates} certificate name(s)") } else { String::new() };
        line(format_args!(
            "caller {}: {tokens} token(s){certificates}; tenants {}; allow {scopes}",
            caller.name,
            caller.tenants.join(", ")
        ));
    }
    text
}
