//! Configurations for tests: two tenants, a few callers, and whatever a test adds.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};

/// Keys and secrets of the tenants.
pub(crate) struct Keys;

impl Keys {
    pub(crate) const SHOP_APP: &str = "7d431e42dfa6a6d693ac2d04";
    pub(crate) const SHOP_APP_SECRET: &str = "5e987ac6d2e04d95a9d8f0d1";
    pub(crate) const SHOP_DEV: &str = "115cc609860982ede0e3bdd4";
    pub(crate) const SHOP_DEV_SECRET: &str = "2e2023ade697b989087dcc53";
    pub(crate) const SHOP_GROUP: &str = "e4c938578ee598be517a2243";
    pub(crate) const SHOP_GROUP_SECRET: &str = "71d1dc4dae126674ed386b7b";
    pub(crate) const MARKET_APP: &str = "28a10c0904b5cd622aadaeb1";
    pub(crate) const MARKET_APP_SECRET: &str = "e9fa2c9763debd20e7de1eb0";

    pub(crate) const SECRETS: [&str; 4] =
        [Self::SHOP_APP_SECRET, Self::SHOP_DEV_SECRET, Self::SHOP_GROUP_SECRET, Self::MARKET_APP_SECRET];
}

/// Tokens of the callers.
pub(crate) struct Tokens;

impl Tokens {
    /// Of `orders`: tenant shop, every scope.
    pub(crate) const ORDERS: &str = "ordersTokenForTests20261";
    /// Of `both`: tenants shop and market, every scope.
    pub(crate) const BOTH: &str = "bothTokenForTests2026abc";
    /// Of `pusher`: tenant shop, pushes only.
    pub(crate) const PUSHER: &str = "pusherTokenForTests20262";
    /// Of `filer`: tenants shop and market, files only.
    pub(crate) const FILER: &str = "filerTokenForTests20263x";

    pub(crate) const ALL: [&str; 4] = [Self::ORDERS, Self::BOTH, Self::PUSHER, Self::FILER];
}

/// Digest of a text, in hexadecimal digits.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
        hex
    })
}

/// A configuration to be written; the fields are YAML.
pub(crate) struct Config {
    pub(crate) listeners: String,
    pub(crate) admin_address: String,
    /// More keys of `admin`, after a comma.
    pub(crate) admin: String,
    pub(crate) workers: u32,
    /// Base URL of the hosts.
    pub(crate) vendor_url: String,
    /// That of the region with `/v4`, or `null`.
    pub(crate) image_v4: String,
    /// More keys of `vendor`.
    pub(crate) vendor: String,
    pub(crate) budgets: String,
    pub(crate) guard: &'static str,
    pub(crate) limits: String,
    pub(crate) drain: &'static str,
    /// More keys of the tenant shop.
    pub(crate) shop: String,
    /// More keys of the caller orders.
    pub(crate) orders: String,
    /// More sections.
    pub(crate) more: String,
    /// Level of the log.
    pub(crate) log: &'static str,
    /// Shell commands that set the process up before it becomes the gateway.
    pub(crate) shell: &'static str,
    /// More tenants that `orders` may use, with their keys.
    pub(crate) others: Vec<(&'static str, String)>,
}

impl Config {
    /// Everything at its default, with one worker, so that a test knows which pool of connections it meets.
    pub(crate) fn new(vendor_url: &str) -> Self {
        Self {
            listeners: "{ address: 127.0.0.1:0 }".into(),
            admin_address: "127.0.0.1:0".into(),
            admin: String::new(),
            workers: 1,
            vendor_url: vendor_url.into(),
            image_v4: format!("\"{vendor_url}\""),
            vendor: String::new(),
            budgets: String::new(),
            guard: "10s",
            limits: String::new(),
            drain: "{}",
            shop: String::new(),
            orders: String::new(),
            more: String::new(),
            log: "info",
            shell: "",
            others: Vec::new(),
        }
    }

    /// The file. `env: SHOP_APP_SECRET` and `file: shop-dev` must be there when it is read.
    pub(crate) fn yaml(&self) -> String {
        let Self { listeners, workers, vendor_url: url, vendor, budgets, guard, limits, drain, .. } = self;
        let Self { admin_address, admin, image_v4, shop, orders, more, .. } = self;
        let digest = |token: &str| sha256_hex(token.as_bytes());
        let others: String =
            self.others.iter().map(|(name, keys)| ["  ", name, ": ", keys, "\n"].concat()).collect();
        let names: String = self.others.iter().map(|(name, _)| [", ", name].concat()).collect();
        format!(
            r#"
listeners: [ {listeners} ]
admin: {{ address: "{admin_address}"{admin} }}
workers: {workers}
vendor: {{ api: "{url}", device: "{url}", report: "{url}", image_v4: {image_v4}, {vendor} }}
budgets: {{ {budgets} }}
guard: {guard}
limits: {{ {limits} }}
drain: {drain}
{more}
tenants:
  shop:
    app: {{ key: {app}, secret: {{ env: SHOP_APP_SECRET }} }}
    dev: {{ key: {dev}, secret: {{ file: shop-dev }} }}
    group: {{ key: {group}, secret: {{ value: {group_secret} }} }}
    {shop}
  market:
    app: {{ key: {market}, secret: {{ value: {market_secret} }} }}
{others}
callers:
  orders:
    tokens: [ {{ name: "2026-11", sha256: {orders_digest} }} ]
    tenants: [ shop{names} ]
    allow: [ "*" ]
    {orders}
  both: {{ tokens: [ {{ sha256: {both} }} ], tenants: [ shop, market ], allow: [ "*" ] }}
  pusher: {{ tokens: [ {{ sha256: {pusher} }} ], tenants: [ shop ], allow: [ push ] }}
  filer: {{ tokens: [ {{ sha256: {filer} }} ], tenants: [ shop, market ], allow: [ file ] }}
"#,
            app = Keys::SHOP_APP,
            dev = Keys::SHOP_DEV,
            group = Keys::SHOP_GROUP,
            group_secret = Keys::SHOP_GROUP_SECRET,
            market = Keys::MARKET_APP,
            market_secret = Keys::MARKET_APP_SECRET,
            orders_digest = digest(Tokens::ORDERS),
            both = digest(Tokens::BOTH),
            pusher = digest(Tokens::PUSHER),
            filer = digest(Tokens::FILER),
        )
    }
}
