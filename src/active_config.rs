//! The configuration in use: the directory and everything else that requests look up.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;

use crate::admission::CallerAdmission;
use crate::body_reader::Allowance;
use crate::budget::{Budgets, CallerNumber, Horizon, Timestamp};
use crate::config::{Config, Files, Images, Limits};
use crate::dedup::RepeatProtection;
use crate::operation::OperationId;
use crate::outbound::Trace;
use crate::secret::TokenDigest;
use crate::telemetry::Usage;
use crate::tenant::{self, Directory, Grant};
use crate::upstream::{Connector, Deadlines, TlsSetupError};

/// A configuration, resolved for requests.
pub struct ActiveConfig {
    /// The callers, the tenants and their permissions.
    pub directory: Arc<Directory>,
    /// The last use of tokens, and cached metric series.
    pub usage: Arc<Usage>,
    /// The connections to the vendor's hosts.
    pub connector: Arc<Connector>,
    /// Limits of target lists.
    pub files: Files,
    /// Limits of uploaded images.
    pub images: Images,
    /// Whether trace context is sent to the vendor.
    pub trace: Trace,
    /// Limits on what callers can occupy.
    pub limits: Limits,
    /// The digest of the token for the protected admin pages, if there is one.
    pub admin_token: Option<TokenDigest>,
    /// The times for which an attempt matters in the store: the attempt must be over before its slot expires there.
    pub shared_horizon: Horizon,
    /// The protection against sending a push twice. It outlives the configuration.
    pub repeat_protection: Arc<RepeatProtection>,
    callers: Vec<CallerAdmission>,
    response_timeout: Duration,
}

impl ActiveConfig {
    /// Resolves a checked configuration. Fails if TLS to the vendor cannot be set up.
    pub fn new(config: &Config, budgets: &Budgets) -> Result<Self, TlsSetupError> {
        Ok(Self::resolve(None, config, budgets, connector(config)?))
    }

    /// Resolves a checked configuration that replaces this one. Counts by caller and token continue.
    ///
    /// Nothing in here can fail, because budgets have their new limits from here on.
    #[must_use]
    pub fn followed_by(
        &self,
        config: &Config,
        budgets: &Budgets,
        connector: Connector,
        now: Timestamp,
    ) -> Self {
        Self::resolve(Some((self, now)), config, budgets, connector)
    }

    fn resolve(
        previous: Option<(&Self, Timestamp)>,
        config: &Config,
        budgets: &Budgets,
        connector: Connector,
    ) -> Self {
        let directory = match previous {
            None => Directory::new(config, budgets),
            Some((previous, now)) => {
                let in_use = previous.callers_in_use(budgets, now);
                previous.directory.followed_by(config, budgets, &in_use)
            }
        };
        let (directory, previous) = (Arc::new(directory), previous.map(|(previous, _)| previous));
        let known = previous.map(|previous| (&*previous.usage, &*previous.directory));
        let callers = directory.callers.iter().map(|caller| {
            let known = previous.and_then(|previous| previous.caller_admission_named(&caller.name));
            known
                .inspect(|admission| admission.resize(&config.limits))
                .unwrap_or_else(|| CallerAdmission::new(&config.limits))
        });
        let vendor = &config.vendor;
        Self {
            usage: Arc::new(Usage::new(&directory, known)),
            admin_token: config.admin.token,
            repeat_protection: previous
                .map(|previous| Arc::clone(&previous.repeat_protection))
                .unwrap_or_default(),
            callers: callers.collect(),
            connector: Arc::new(connector.after(previous.map(|previous| &*previous.connector))),
            files: config.files.clone(),
            images: config.images.clone(),
            trace: if vendor.forward_trace { Trace::Forward } else { Trace::Drop },
            limits: config.limits.clone(),
            shared_horizon: Horizon {
                guard: config.guard,
                attempt: vendor.connect_timeout + vendor.response_timeout,
            },
            response_timeout: vendor.response_timeout,
            directory,
        }
    }

    /// The callers that anything still refers to, if any of those is gone from the configuration.
    fn callers_in_use(&self, budgets: &Budgets, now: Timestamp) -> HashSet<CallerNumber> {
        if !self.directory.has_gone_callers() {
            return HashSet::new();
        }
        let mut in_use = budgets.callers(now);
        in_use.extend(self.repeat_protection.callers());
        in_use
    }

    fn caller_admission_named(&self, name: &str) -> Option<CallerAdmission> {
        Some(self.callers[self.directory.caller_named(name)?].clone())
    }

    /// The totals of the caller of `grant`.
    pub fn caller_admission(&self, grant: &Grant) -> &CallerAdmission {
        &self.callers[grant.positions().0]
    }

    /// The limits for the body of a call.
    pub fn allowance(&self, operation: OperationId) -> Allowance {
        let limit_bytes = crate::body::limit_bytes(operation.body, &self.limits, &self.files, &self.images);
        Allowance { limit_bytes, timeout: self.limits.body_timeout }
    }

    /// The deadlines of a call whose body just ended.
    pub fn deadlines(&self, now: Instant) -> Deadlines {
        Deadlines {
            call: now + self.limits.deadline,
            whole: self.limits.deadline,
            response: self.response_timeout,
            late_at: None,
        }
    }

    /// The vendor's `Host` header for a call.
    pub fn host(&self, grant: &Grant) -> &HeaderValue {
        &self.connector.origins()[grant.origin().0].host
    }
}

/// The connector to the vendor's hosts. Reads the trust roots.
pub fn connector(config: &Config) -> Result<Connector, TlsSetupError> {
    let vendor = &config.vendor;
    let origins = tenant::origins(&config.tenants);
    Connector::new(&origins, vendor.ca.as_deref(), vendor.proxy.as_ref(), vendor.connect_timeout)
}
