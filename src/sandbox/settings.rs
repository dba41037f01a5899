//! The simulator's settings: its accounts, and its way of counting calls.

use std::time::Duration;

use super::accounts::{Account, AccountKind};
use super::window::Windows;
use crate::config::TenantConfig;

/// Settings of a simulator.
pub struct Settings {
    /// Accounts that can authenticate; no key occurs twice with the same kind.
    pub accounts: Vec<Account>,
    /// Length of all windows but the daily ones, in place of the configured lengths.
    pub window: Option<Duration>,
    /// The way in which calls are counted over time.
    pub windows: Windows,
}

impl Settings {
    /// Takes the tenants of a gateway's configuration as accounts. A key that several tenants share is one account.
    pub fn from_config(tenants: &[TenantConfig], window: Option<Duration>, windows: Windows) -> Self {
        let mut accounts: Vec<Account> = Vec::new();
        for tenant in tenants {
            let credentials = [
                (Some(&tenant.app), AccountKind::App),
                (tenant.dev.as_ref(), AccountKind::Dev),
                (tenant.group.as_ref(), AccountKind::Group),
            ];
            for (credential, kind) in credentials {
                let Some(credential) = credential else { continue };
                let known =
                    accounts.iter().position(|known| known.kind == kind && known.key == credential.key);
                let position = known.or_else(|| {
                    accounts.push(Account::new(credential, kind, tenant.budgets.clone())?);
                    Some(accounts.len() - 1)
                });
                if let (AccountKind::Group, Some(position)) = (kind, position) {
                    let members = &mut accounts[position].members;
                    if !members.contains(&tenant.app.key) {
                        members.push(tenant.app.key.clone());
                    }
                }
            }
        }
        Self { accounts, window, windows }
    }
}
