//! Redis servers of which one takes the place of another.

use super::redis::free_address;
use super::{Folder, Redis, wait_until};

/// A server, its replica, and three sentinels that know them as `main`.
pub(crate) struct Sentinels {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    watchers: Vec<Redis>,
    // The sentinels write to their files.
    _folder: Folder,
}

impl Sentinels {
    pub(crate) fn start(password: &str) -> Self {
        let secured = ["--requirepass", password, "--masterauth", password];
        let master = Redis::start_with(&secured);
        let of_master = ["--replicaof", "127.0.0.1", &master.port()];
        let replica = Redis::start_with(&[&secured[..], &of_master].concat());
        let folder = Folder::new();
        let watchers = (0..3).map(|number| {
            let port = master.port();
            let settings = format!(
                "sentinel monitor main 127.0.0.1 {port} 2\nsentinel auth-pass main {password}\n\
                 sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 4000\n"
            );
            let file = folder.write(&format!("sentinel-{number}.conf"), settings);
            Redis::start_from(&file, &["--sentinel"])
        });
        let group = Self { watchers: watchers.collect(), master, replica, _folder: folder };
        for sentinel in &group.watchers {
            wait_until("the sentinels know each other and the replica", || {
                let seen = sentinel.command(&["SENTINEL", "MASTER", "main"]);
                let is = |name: &str, count: &str| {
                    seen.lines().skip_while(|line| *line != name).nth(2).is_some_and(|number| number == count)
                };
                is("num-other-sentinels", "2") && is("num-slaves", "1")
            });
        }
        group
    }

    /// The URLs of the sentinels as a list in YAML.
    pub(crate) fn urls(&self) -> String {
        list(&self.watchers)
    }

    /// Waits until every sentinel names the replica.
    pub(crate) fn replica_took_over(&self) {
        for sentinel in &self.watchers {
            wait_until("the failover", || {
                let named = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"]);
                named.contains(&self.replica.port())
            });
        }
    }
}

/// Three servers that share the hash slots, and a replica of the one that holds a key.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Redis>,
    /// The position of the one that holds the key.
    pub(crate) holder: usize,
    pub(crate) replica: Redis,
}

impl Cluster {
    pub(crate) fn start(key: &str) -> Self {
        const PARTS: [[&str; 2]; 3] = [["0", "5460"], ["5461", "10922"], ["10923", "16383"]];
        let servers: Vec<_> = PARTS.iter().map(|_| cluster_server()).collect();
        let replica = cluster_server();
        for (server, [first, last]) in servers.iter().zip(PARTS) {
            assert_eq!(server.command(&["CLUSTER", "ADDSLOTSRANGE", first, last]), "+OK\r\n");
        }
        for server in servers[1..].iter().chain([&replica]) {
            servers[0].command(&["CLUSTER", "MEET", "127.0.0.1", &server.port(), &server.bus_port()]);
        }
        for server in servers.iter().chain([&replica]) {
            wait_until("the cluster", || {
                let info = server.command(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:4")
            });
        }
        let slot: usize =
            servers[0].command(&["CLUSTER", "KEYSLOT", key]).trim()[1..].parse().expect("a number");
        let holder = PARTS.iter().position(|[_, last]| last.parse::<usize>().is_ok_and(|last| slot <= last));
        let holder = holder.expect("every slot has a server");
        let id = servers[holder].command(&["CLUSTER", "MYID"]);
        let id = id.lines().nth(1).expect("an id").to_owned();
        wait_until("the replica", || replica.command(&["CLUSTER", "REPLICATE", &id]) == "+OK\r\n");
        wait_until("the replication", || {
            replica.command(&["INFO", "replication"]).contains("master_link_status:up")
        });
        Self { servers, holder, replica }
    }

    /// The URLs of the servers as a list in YAML.
    pub(crate) fn urls(&self) -> String {
        list(&self.servers)
    }
}

fn cluster_server() -> Redis {
    let bus = free_address().port().to_string();
    let mut options = vec!["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"];
    options.extend(["--cluster-port", &bus]);
    Redis::start_with(&options)
}

fn list(servers: &[Redis]) -> String {
    let urls: Vec<_> = servers.iter().map(|server| format!("\"{}\"", server.url())).collect();
    format!("[ {} ]", urls.join(", "))
}
