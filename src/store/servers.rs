//! Where the servers are that hold the keys: one that the configuration names, the one that sentinels name, or those
//! of a cluster.
//!
//! Where a server can take the place of another, two replicas of the gateway must not use both. So what those who know
//! say (the sentinels, or the servers of the cluster) counts only if most of them say the same, and only for [`TRUST`]
//! after they were asked. "Most" is so many that any two such groups have one in common who is not the server that was
//! replaced. That one named the old server before the new one, so the last time that most named the old server was
//! before the first time that most named the new one. And a server that takes over gives nothing until all slots of its
//! predecessor are over, those of the last [`TRUST`] included.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    Client, ConnectionAddr, ConnectionInfo, FromRedisValue, RedisConnectionInfo, RedisResult, Value,
};

use super::hash_slot::HASH_SLOTS;
use super::link::{connect, unexpected};

/// For how long after the question an answer about the servers counts.
pub(super) const TRUST: Duration = Duration::from_secs(3);
/// The longest time for an answer of those who know where the servers are.
const ASK_MAX: Duration = Duration::from_millis(500);

/// Which server holds which hash slots.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Map {
    /// Addresses. Empty where the configuration names the only server.
    servers: Vec<Arc<str>>,
    /// The last hash slot of each range, in order, and the position of its server.
    ranges: Vec<(u16, usize)>,
}

impl Map {
    fn of_one(server: Arc<str>) -> Self {
        Self { servers: vec![server], ranges: vec![(HASH_SLOTS - 1, 0)] }
    }

    /// Each server; `None` for the one that the configuration names.
    pub(super) fn servers(&self) -> impl Iterator<Item = Option<&Arc<str>>> {
        let named = self.servers.is_empty().then_some(None);
        named.into_iter().chain(self.servers.iter().map(Some))
    }

    /// The last hash slot of each range, and what belongs to its server.
    pub(super) fn ranges<T: Clone>(&self, of_servers: &[T]) -> Vec<(u16, T)> {
        if self.servers.is_empty() {
            return of_servers.iter().map(|one| (HASH_SLOTS - 1, one.clone())).collect();
        }
        self.ranges.iter().map(|(last, server)| (*last, of_servers[*server].clone())).collect()
    }

    /// The servers that hold keys, from an answer to `CLUSTER SLOTS`. `asked` is the host that answered.
    fn of_cluster(answer: &Value, asked: &str) -> RedisResult<Self> {
        let rows = Vec::<Vec<Value>>::from_redis_value_ref(answer)?;
        let mut rows = rows.iter().map(|row| range(row, asked)).collect::<RedisResult<Vec<_>>>()?;
        rows.sort();
        let mut map = Self::default();
        for (last, server) in rows {
            let at = map.servers.iter().position(|known| *known == server).unwrap_or_else(|| {
                map.servers.push(server);
                map.servers.len() - 1
            });
            map.ranges.push((last, at));
        }
        if map.servers.is_empty() { Err(unexpected("the cluster serves no hash slots")) } else { Ok(map) }
    }
}

/// The last hash slot of a row and the address of the server that takes writes: first slot, last slot, that server, its
/// replicas; each with its host, its port, and what does not matter here.
fn range(row: &[Value], asked: &str) -> RedisResult<(u16, Arc<str>)> {
    let [_, last, Value::Array(server), ..] = row else {
        return Err(unexpected("a range of hash slots has no server"));
    };
    let [host, port, ..] = server.as_slice() else {
        return Err(unexpected("a server of the cluster has no port"));
    };
    let host = Option::<String>::from_redis_value_ref(host)?;
    let host = match host.as_deref() {
        // A server that does not know its own address.
        None | Some("") => asked,
        Some("?") => return Err(unexpected("a server of the cluster has no address")),
        Some(host) => host,
    };
    Ok((u16::from_redis_value_ref(last)?, address(host, u16::from_redis_value_ref(port)?)))
}

fn address(host: &str, port: u16) -> Arc<str> {
    format!("{host}:{port}").into()
}

/// The servers of the store, and how they are found and reached.
pub(super) struct Servers {
    way: Way,
    /// How a server is reached; where others name it, its address takes the place of this one.
    pattern: ConnectionInfo,
}

/// The way to find the servers.
enum Way {
    /// The configuration names the only one.
    One,
    /// Sentinels name it.
    Sentinel { master: String, sentinels: Witnesses },
    /// The servers of a cluster know each other; `named` are those of the configuration.
    Cluster { named: Vec<(Arc<str>, Client)>, witnesses: Witnesses },
}

impl Servers {
    /// The only server.
    pub(super) fn one(client: &Client) -> Self {
        Self { way: Way::One, pattern: client.get_connection_info().clone() }
    }

    /// The servers that sentinels watch over under a name, with the user and password of the servers.
    pub(super) fn of_sentinels(
        sentinels: &[Client],
        master: String,
        settings: RedisConnectionInfo,
    ) -> Option<Self> {
        let pattern = sentinels.first()?.get_connection_info().clone().set_redis_settings(settings);
        let sentinels = Witnesses::of(sentinels.iter().map(|client| (named(client), client.clone())));
        Some(Self { way: Way::Sentinel { master, sentinels }, pattern })
    }

    /// The servers of a cluster, of which some are known.
    pub(super) fn of_cluster(clients: &[Client]) -> Option<Self> {
        let pattern = clients.first()?.get_connection_info().clone();
        let named: Vec<_> = clients.iter().map(|client| (named(client), client.clone())).collect();
        let witnesses = Witnesses::of(named.iter().cloned());
        Some(Self { way: Way::Cluster { named, witnesses }, pattern })
    }

    /// Whether a server can take the place of another.
    pub(super) fn can_change(&self) -> bool {
        !matches!(self.way, Way::One)
    }

    /// How a server of a map is reached.
    pub(super) fn client(&self, server: Option<&str>) -> RedisResult<Client> {
        client_of(&self.pattern, server)
    }

    /// Finds out which server holds what.
    pub(super) async fn look(&mut self) -> RedisResult<Map> {
        match &mut self.way {
            Way::One => Ok(Map::default()),
            Way::Sentinel { master, sentinels } => named_by_sentinels(master, sentinels).await,
            Way::Cluster { named, witnesses } => {
                let found = known_by_cluster(witnesses, &self.pattern).await;
                if found.is_err() {
                    witnesses.know(named.iter().cloned());
                }
                found
            }
        }
    }
}

async fn named_by_sentinels(master: &str, sentinels: &mut Witnesses) -> RedisResult<Map> {
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let mut said = Vec::new();
    let mut first_error = None;
    for (_, answer) in sentinels.ask(&command).await {
        match answer.and_then(|answer| Ok(Option::<(String, u16)>::from_redis_value(answer)?)) {
            Ok(Some((host, port))) => said.push(Map::of_one(address(&host, port))),
            Ok(None) => first_error = Some(unexpected("a sentinel does not know this name of a master")),
            Err(error) => first_error = Some(error),
        }
    }
    let is_most = |map: &&Map| said.iter().filter(|said| said == map).count() * 2 > sentinels.0.len();
    match said.iter().find(is_most) {
        Some(map) => Ok(map.clone()),
        None => Err(first_error.unwrap_or_else(|| unexpected("most sentinels do not name the same master"))),
    }
}

async fn known_by_cluster(witnesses: &mut Witnesses, pattern: &ConnectionInfo) -> RedisResult<Map> {
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    // Those who were asked first may not be those who hold keys now.
    let mut first_error = None;
    for _ in 0..2 {
        let mut said = Vec::new();
        for (server, answer) in witnesses.ask(&command).await {
            let host = server.rsplit_once(':').map_or("", |(host, _)| host);
            match answer.and_then(|answer| Map::of_cluster(&answer, host)) {
                Ok(map) => said.push((server, map)),
                Err(error) => first_error = Some(error),
            }
        }
        let count = |map: &Map| said.iter().filter(|(_, said)| said == map).count();
        let Some((_, map)) = said.iter().max_by_key(|(_, map)| count(map)) else { break };
        let votes = said.iter().filter(|(server, said)| said == map && map.servers.contains(server)).count();
        let clients =
            map.servers.iter().map(|server| Ok((Arc::clone(server), client_of(pattern, Some(server))?)));
        witnesses.know(clients.collect::<RedisResult<Vec<_>>>()?);
        if votes >= most_of(map.servers.len()) {
            return Ok(map.clone());
        }
    }
    Err(first_error
        .unwrap_or_else(|| unexpected("most servers of the cluster do not agree on who holds what")))
}

/// How many servers of a cluster must agree: more than half of those beside any one of them, and that one. A single one
/// has nobody who could replace it.
fn most_of(servers: usize) -> usize {
    servers.div_ceil(2).saturating_add(1).min(servers)
}

/// Connections to those who know where the servers are.
struct Witnesses(HashMap<Arc<str>, (Client, Option<MultiplexedConnection>)>);

impl Witnesses {
    fn of(clients: impl IntoIterator<Item = (Arc<str>, Client)>) -> Self {
        Self(clients.into_iter().map(|(address, client)| (address, (client, None))).collect())
    }

    /// Knows these and no others from now on.
    fn know(&mut self, clients: impl IntoIterator<Item = (Arc<str>, Client)>) {
        let mut before = std::mem::take(&mut self.0);
        let kept = clients.into_iter().map(|(address, client)| {
            let known = before.remove(&address).unwrap_or((client, None));
            (address, known)
        });
        self.0 = kept.collect();
    }

    /// Asks all at once.
    async fn ask(&mut self, command: &redis::Cmd) -> Vec<(Arc<str>, RedisResult<Value>)> {
        let asked = self.0.iter_mut().map(|(address, (client, open))| async move {
            let answer = ask(client, open, command).await;
            if answer.is_err() {
                *open = None;
            }
            (Arc::clone(address), answer)
        });
        futures_util::future::join_all(asked).await
    }
}

async fn ask(
    client: &Client,
    open: &mut Option<MultiplexedConnection>,
    command: &redis::Cmd,
) -> RedisResult<Value> {
    let connection = match open {
        Some(connection) => connection,
        None => open.insert(connect(client, ASK_MAX).await?),
    };
    command.query_async(connection).await
}

fn client_of(pattern: &ConnectionInfo, server: Option<&str>) -> RedisResult<Client> {
    let Some(server) = server else { return Client::open(pattern.clone()) };
    let (host, port) = server.rsplit_once(':').ok_or_else(|| unexpected("an address without a port"))?;
    let (host, port) = (host.to_owned(), port.parse().map_err(|_| unexpected("an address without a port"))?);
    let address = if let ConnectionAddr::TcpTls { insecure, tls_params, .. } = pattern.addr() {
        ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    Client::open(pattern.clone().set_addr(address))
}

/// The address that a URL names.
fn named(client: &Client) -> Arc<str> {
    client.get_connection_info().addr().to_string().into()
}

#[cfg(test)]
mod tests {
    use redis::{Client, ConnectionAddr, Value};

    use super::{Map, client_of, most_of};

    #[test]
    fn two_groups_of_most_share_one_who_was_not_replaced() {
        for servers in 2..20 {
            // Without the old server and without the new one, in those that stayed.
            let (stayed, old, new) = (servers - 1, most_of(servers) - 1, most_of(servers) - 1);
            assert!(old + new > stayed, "{servers}");
        }
        assert_eq!([1, 2, 3, 4, 5, 6].map(most_of), [1, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn a_server_that_others_name_is_reached_as_they_are() {
        let named = Client::open("rediss://gateway:hunter2@first:6379").expect("a URL");
        let found = client_of(named.get_connection_info(), Some("2001:db8::7:6380")).expect("an address");
        let info = found.get_connection_info();
        assert!(
            matches!(info.addr(), ConnectionAddr::TcpTls { host, port: 6380, .. } if host == "2001:db8::7")
        );
        assert_eq!(info.redis_settings().username(), Some("gateway"));
        assert_eq!(info.redis_settings().password(), Some("hunter2"));
    }

    #[test]
    fn ranges_of_a_cluster_are_read_in_any_order() {
        let text = |text: &str| Value::BulkString(text.into());
        let row = |last, host: Value, port| {
            let server = Value::Array(vec![host, Value::Int(port), text("id")]);
            Value::Array(vec![Value::Int(0), Value::Int(last), server])
        };
        let rows = [row(16383, text("b"), 2), row(99, text("b"), 2), row(5460, text(""), 1)];
        let map = Map::of_cluster(&Value::Array(rows.into()), "asked").unwrap_or_default();
        let servers: Vec<_> = map.servers().flatten().map(|server| &**server).collect();
        assert_eq!(servers, ["b:2", "asked:1"]);
        assert_eq!(map.ranges(&["b", "asked"]), [(99, "b"), (5460, "asked"), (16383, "b")]);
        for bad in [Value::Array(vec![]), Value::Array(vec![row(1, text("?"), 1)]), Value::Nil] {
            assert!(Map::of_cluster(&bad, "asked").is_err());
        }
    }
}
