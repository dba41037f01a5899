//! Configurations for tests: two tenants, a few callers, and the settings that a test adds.

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
    /// Token of `orders`: tenant shop, every scope.
    pub(crate) const ORDERS: &str = "ordersTokenForTests20261";
    /// Token of `both`: tenants shop and market, every scope.
    pub(crate) const BOTH: &str = "bothTokenForTests2026abc";
    /// Token of `pusher`: tenant shop, scope `push` only.
    pub(crate) const PUSHER: &str = "pusherTokenForTests20262";
    /// Token of `filer`: tenants shop and market, scope `file` only.
    pub(crate) const FILER: &str = "filerTokenForTests20263x";

    pub(crate) const ALL: [&str; 4] = [Self::ORDERS, Self::BOTH, Self::PUSHER, Self::FILER];
}

/// SHA-256 of a text in hexadecimal digits.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
        hex
    })
}

/// A configuration for a gateway; the fields are YAML.
pub(crate) struct Config {
    pub(crate) listeners: String,
    pub(crate) admin_address: String,
    /// Additional keys of `admin`, after a comma.
    pub(crate) admin: String,
    pub(crate) workers: u32,
    /// Base URL of all hosts but the `/v4` one.
    pub(crate) vendor_url: String,
    /// Base URL of the `/v4` host, or `null`.
    pub(crate) image_v4: String,
    /// Additional keys of `vendor`.
    pub(crate) vendor: String,
    pub(crate) budgets: String,
    pub(crate) guard: &'static str,
    pub(crate) limits: String,
    pub(crate) drain: &'static str,
    /// Additional keys of the tenant shop.
    pub(crate) shop: String,
    /// Additional keys of the caller orders.
    pub(crate) orders: String,
    /// Additional top-level sections.
    pub(crate) more: String,
    /// Level of the process log.
    pub(crate) log: &'static str,
    /// Shell commands that prepare the process before it becomes the gateway.
    pub(crate) shell: &'static str,
    /// Additional tenants that `orders` may use, with their keys.
    pub(crate) others: Vec<(&'static str, String)>,
}

impl Config {
    /// Everything at its default, with one worker, so that all calls share one connection pool.
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

    /// The text of the file. `env: SHOP_APP_SECRET` and `file: shop-dev` must exist when it is read.
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
