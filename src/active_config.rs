//! One configuration in use: the directory and everything else that a request looks up in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;

use crate::admission::CallerAdmission;
use crate::body_reader::Allowance;
use crate::budget::{Budgets, Horizon};
use crate::config::{Config, Files, Images, Limits};
use crate::dedup::Recall;
use crate::operation::OperationId;
use crate::outbound::Trace;
use crate::secret::TokenDigest;
use crate::telemetry::Usage;
use crate::tenant::{self, Directory, Grant};
use crate::upstream::{Connector, Deadlines, TlsSetupError};

/// A configuration, resolved.
pub struct ActiveConfig {
    /// Who may do what.
    pub directory: Arc<Directory>,
    /// Last uses, and prepared metric series.
    pub usage: Arc<Usage>,
    /// How the vendor is reached.
    pub connector: Arc<Connector>,
    /// Rules for target lists.
    pub files: Files,
    /// Rules for pictures.
    pub images: Images,
    /// Whether trace context travels on.
    pub trace: Trace,
    /// Bounds on what callers can make us hold.
    pub limits: Limits,
    /// What operators have to know for the pages that are not for everybody.
    pub admin_token: Option<TokenDigest>,
    /// How long an attempt matters in the store: it must be over when its slot there ends by itself.
    pub shared_horizon: Horizon,
    /// Calls that may come again. It outlives the configuration.
    pub recall: Arc<Recall>,
    callers: Vec<CallerAdmission>,
    response_timeout: Duration,
}

impl ActiveConfig {
    /// Resolves a checked configuration. Fails if TLS to the vendor cannot be set up.
    pub fn new(config: &Config, budgets: &Budgets) -> Result<Self, TlsSetupError> {
        Ok(Self::after(None, config, budgets, connector(config)?))
    }

    /// Resolves a checked configuration that follows another: what is counted by caller or token goes on.
    ///
    /// Nothing here can fail, because the budgets have their new sizes from here on.
    pub fn after(previous: Option<&Self>, config: &Config, budgets: &Budgets, connector: Connector) -> Self {
        let directory = Directory::after(previous.map(|previous| &*previous.directory), config, budgets);
        let directory = Arc::new(directory);
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
            recall: previous.map(|previous| Arc::clone(&previous.recall)).unwrap_or_default(),
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

    fn caller_admission_named(&self, name: &str) -> Option<CallerAdmission> {
        Some(self.callers[self.directory.caller_named(name)?].clone())
    }

    /// What a call's caller is doing.
    pub fn caller_admission(&self, grant: &Grant) -> &CallerAdmission {
        &self.callers[grant.positions().0]
    }

    /// What the body of a call may cost.
    pub fn allowance(&self, operation: OperationId) -> Allowance {
        let limit_bytes = crate::body::limit_bytes(operation.body, &self.limits, &self.files, &self.images);
        Allowance { limit_bytes, timeout: self.limits.body_timeout }
    }

    /// When a call whose body just ended must have its answer.
    pub fn deadlines(&self, now: Instant) -> Deadlines {
        Deadlines {
            call: now + self.limits.deadline,
            whole: self.limits.deadline,
            response: self.response_timeout,
        }
    }

    /// The vendor's `Host` header for a call.
    pub fn host(&self, grant: &Grant) -> &HeaderValue {
        &self.connector.origins()[grant.origin().0].host
    }
}

/// How the vendor is reached by a configuration. Reads its trust roots.
pub fn connector(config: &Config) -> Result<Connector, TlsSetupError> {
    let vendor = &config.vendor;
    let origins = tenant::origins(&config.tenants);
    Connector::new(&origins, vendor.ca.as_deref(), vendor.proxy.as_ref(), vendor.connect_timeout)
}
