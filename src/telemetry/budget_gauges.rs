//! The gauges of the budgets that were used, updated when the metrics are read.

use prometheus::IntGaugeVec;

use crate::budget::Timestamp;
use crate::tenant::{CredentialKind, Directory};

/// One family of gauges for each value of a budget.
pub(super) struct BudgetGauges {
    limit: IntGaugeVec,
    used: IntGaugeVec,
    waiting: IntGaugeVec,
    foreign_used: IntGaugeVec,
    vendor_limit: IntGaugeVec,
    holding_back: IntGaugeVec,
}

impl BudgetGauges {
    /// Registers the gauges by a function that takes a name, a help text and labels.
    pub(super) fn new(gauges: impl Fn(&str, &str, &[&str]) -> IntGaugeVec) -> Self {
        let gauge = |name, help| gauges(name, help, &["tenant", "credential", "budget"]);
        Self {
            limit: gauge("budget_limit", "Calls allowed per window."),
            used: gauge("budget_used", "Calls that count against the budget now."),
            waiting: gauge("budget_waiting", "Requests that wait for a slot."),
            foreign_used: gauge(
                "budget_foreign_used",
                "Calls that the vendor counted on the key and that were not ours.",
            ),
            vendor_limit: gauge("budget_vendor_limit", "Calls allowed per window according to the vendor."),
            holding_back: gauge(
                "budget_holding_back",
                "Whether calls are held back because earlier calls are unknown.",
            ),
        }
    }

    pub(super) fn measure(&self, directory: &Directory, now: Timestamp) {
        let Self { limit, used, waiting, foreign_used, vendor_limit, holding_back } = self;
        // Budgets of tenants that a reload removed no longer exist.
        for gauge in [limit, used, waiting, foreign_used, vendor_limit, holding_back] {
            gauge.reset();
        }
        for tenant in &directory.tenants {
            for kind in CredentialKind::ALL {
                let Some(credential) = tenant.credential(kind) else { continue };
                for budget in credential.budgets() {
                    let Some(status) = budget.status_if_used(now) else { continue };
                    let labels = [tenant.name.as_str(), kind.as_str(), budget.name().as_str()];
                    limit.with_label_values(&labels).set(status.limit.into());
                    used.with_label_values(&labels).set(status.used.into());
                    waiting.with_label_values(&labels).set(i64::try_from(status.waiting).unwrap_or(i64::MAX));
                    foreign_used.with_label_values(&labels).set(status.foreign.into());
                    holding_back.with_label_values(&labels).set(status.holding_back.into());
                    if let Some(said) = status.vendor_limit {
                        vendor_limit.with_label_values(&labels).set(said.into());
                    }
                }
            }
        }
    }
}
