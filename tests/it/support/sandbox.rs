//! Runs the crate's simulator of the vendor on a free port.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use jpush_gateway::config;
use jpush_gateway::sandbox::{Sandbox, Settings, Windows};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::{Answer, Config, Connection, Keys, Request};

/// A running simulator. It ends on drop.
pub(crate) struct Simulator {
    pub(crate) address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Simulator {
    /// Starts with the tenants and budgets of the tests' configuration.
    pub(crate) fn start() -> Self {
        Self::with("", Windows::Fixed)
    }

    /// Starts with other budgets.
    pub(crate) fn with(budgets: &str, windows: Windows) -> Self {
        // The simulator gets the secrets as values, so it needs neither the environment nor files.
        let mut given = Config::new("http://127.0.0.1:1");
        given.budgets = budgets.into();
        let yaml = given
            .yaml()
            .replace("env: SHOP_APP_SECRET", &format!("value: {}", Keys::SHOP_APP_SECRET))
            .replace("file: shop-dev", &format!("value: {}", Keys::SHOP_DEV_SECRET));
        let config = config::parse(&yaml, Path::new("."), &config::System).expect("a good configuration");
        let sandbox = Sandbox::new(Settings::from_config(&config.tenants, None, windows));
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                tell.send(listener.local_addr().expect("an address")).expect("the test waits");
                sandbox.serve(listener, async move { drop(stopped.await) }).await;
            });
        });
        let address = told.recv_timeout(Duration::from_secs(10)).expect("the simulator starts");
        Self { address, _stop: stop }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn own(&self, request: &Request) -> Answer {
        Connection::open(self.address).call(&request.clone().header("Connection", "close"))
    }

    /// The requests that it received.
    pub(crate) fn journal(&self) -> Vec<Value> {
        self.own(&Request::get("/_sandbox/journal")).json().as_array().expect("an array").clone()
    }

    /// The calls that it counted for a key and a budget.
    pub(crate) fn counts(&self, key: &str, budget: &str) -> Value {
        self.own(&Request::get("/_sandbox/counts")).json()[key][budget].clone()
    }

    /// Pushes that it delivered for a key; it does not deliver repeats of a cid.
    pub(crate) fn delivered(&self, key: &str) -> u64 {
        self.own(&Request::get("/_sandbox/delivered")).json()[key].as_u64().unwrap_or_default()
    }

    /// Orders a fault for the next calls.
    pub(crate) fn fault(&self, order: &str) {
        let answer = self.own(&Request::post("/_sandbox/faults", order));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}
