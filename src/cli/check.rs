//! The command `check`: validates a configuration and prints a summary.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use super::{GOOD, complain, print};
use crate::active_config::ActiveConfig;
use crate::budget::Budgets;
use crate::config::{Audit, Config};
use crate::ledger::Ledger;
use crate::operation::BudgetName;
use crate::reload::ConfigSource;
use crate::server::Certificates;
use crate::telemetry::audit;

pub(super) fn run(path: &Path) -> ExitCode {
    let config = match ConfigSource::inspect(path) {
        Ok(config) => config,
        Err(faults) => return complain(&faults),
    };
    // Reads certificates, keys and trust roots in the same way as a start of the gateway.
    if let Err(error) = ActiveConfig::new(&config, &Budgets::default()) {
        return complain(&error);
    }
    let certificates = match Certificates::read(&config.listeners) {
        Ok(certificates) => certificates,
        Err(faults) => return faults.iter().fold(GOOD, |_, fault| complain(fault)),
    };
    if let Some(Err(error)) = config.audit.as_ref().map(audit::probe) {
        return complain(&error);
    }
    if let Some(Err(error)) = config.state_file.as_deref().map(Ledger::check) {
        return complain(&error);
    }
    print(&summary(&config, &certificates));
    GOOD
}

fn summary(config: &Config, certificates: &Certificates) -> String {
    let mut text = format!("good: configuration {}\n", config.digest);
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        text.write_fmt(arguments).expect("writing to a String cannot fail");
        text.push('\n');
    };
    for warning in &config.warnings {
        line(format_args!("warning: {warning}"));
    }
    for notice in certificates.notices(SystemTime::now()) {
        line(format_args!("warning: {}", notice.text));
    }
    for listener in &config.listeners {
        line(format_args!(
            "listener {}{}",
            listener.address,
            if listener.tls.is_some() { " (TLS)" } else { "" }
        ));
    }
    line(format_args!("admin {}", config.admin.address));
    match &config.state_file {
        Some(path) => line(format_args!("state file {}", path.display())),
        None => line(format_args!("no state file: budgets start empty")),
    }
    match &config.audit {
        None => {}
        Some(Audit::Stderr) => line(format_args!("audit stderr")),
        Some(Audit::File(path)) => line(format_args!("audit {}", path.display())),
    }
    for tenant in &config.tenants {
        let keys =
            [("app", Some(&tenant.app)), ("dev", tenant.dev.as_ref()), ("group", tenant.group.as_ref())];
        let keys = keys
            .into_iter()
            .filter_map(|(kind, credential)| Some(format!("{kind} {}", credential?.key.as_str())));
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
