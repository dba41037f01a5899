//! Redis servers for a single test, and a connection to one that can be cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Authority, Folder, wait_until};

/// A server without persistence: it is empty after a restart. It is killed on drop.
pub(crate) struct Redis {
    pub(crate) address: SocketAddr,
    child: Child,
    folder: Folder,
    options: Vec<String>,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts on a port that was free just now; if somebody else took it, on another.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|&option| option.into()).collect();
        let folder = Folder::new();
        for _ in 0..20 {
            let address = free_address();
            let mut child = serve(address, &folder, &options);
            if answers(address, &mut child) {
                return Self { address, child, folder, options };
            }
            let _ = child.wait();
        }
        panic!("redis-server does not start");
    }

    /// Starts with a file of settings, which the server may change.
    pub(crate) fn start_from(file: &Path, options: &[&str]) -> Self {
        let file = file.to_string_lossy();
        Self::start_with(&[&[&*file], options].concat())
    }

    /// Starts one that also listens with TLS, on the address that is returned. The certificate is for 127.0.0.1.
    pub(crate) fn start_tls(authority: &Authority) -> (Self, SocketAddr) {
        let (certificate, key) = authority.sign(&["127.0.0.1"]);
        let (folder, address) = (Folder::new(), free_address());
        let [certificate, key, ca] =
            [("tls.crt", certificate), ("tls.key", key), ("ca.pem", authority.pem())].map(|(name, text)| {
                folder.write(name, text);
                folder.path().join(name).to_string_lossy().into_owned()
            });
        let port = address.port().to_string();
        let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
        let options = [&["--tls-port", &port, "--tls-auth-clients", "no"][..], &files].concat();
        // Read at the start, so the folder is not needed any longer.
        (Self::start_with(&options), address)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(crate) fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// The port on which it talks to the others of its cluster.
    pub(crate) fn bus_port(&self) -> String {
        let at = self.options.iter().position(|option| option == "--cluster-port").expect("a cluster");
        self.options[at + 1].clone()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
    }

    /// Starts again on the same port, without data.
    pub(crate) fn start_again(&mut self) {
        wait_until("the server's new start", || {
            self.child = serve(self.address, &self.folder, &self.options);
            answers(self.address, &mut self.child)
        });
    }

    /// Stops answering without closing connections.
    pub(crate) fn stall(&self) {
        self.signal("STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    /// Sends one command and returns its raw answer.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        ask(self.address, words).expect("the server answers")
    }

    /// A connection for many commands.
    pub(crate) fn connection(&self) -> RedisConnection {
        RedisConnection::open(self.address).expect("the server answers")
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port")
}

fn serve(address: SocketAddr, folder: &Folder, options: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    // A file of settings comes first.
    let (file, options) = match options.split_first() {
        Some((file, options)) if !file.starts_with("--") => (Some(file), options),
        _ => (None, options),
    };
    command.args(file).args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"]);
    if file.is_none() {
        command.args(["--save", "", "--appendonly", "no"]);
    }
    command.args(options).arg("--dir").arg(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server is installed; scripts/test does that")
}

/// Whether the started process came to answer.
fn answers(address: SocketAddr, child: &mut Child) -> bool {
    let mut up = false;
    wait_until("the server's start", || {
        let ended = child.try_wait().expect("a child of ours").is_some();
        up = !ended
            && ask(address, &["PING"])
                .is_some_and(|answer| answer == "+PONG\r\n" || answer.starts_with("-NOAUTH"));
        up || ended
    });
    up
}

fn ask(address: SocketAddr, words: &[&str]) -> Option<String> {
    RedisConnection::open(address)?.try_command(words)
}

/// The numbers of a raw answer.
pub(crate) fn numbers(answer: &str) -> Vec<i64> {
    answer.lines().filter_map(|line| line.strip_prefix(':')?.parse().ok()).collect()
}

/// A connection for commands with short answers.
pub(crate) struct RedisConnection(TcpStream);

impl RedisConnection {
    fn open(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        Some(Self(stream))
    }

    /// Sends one command and returns its raw answer.
    pub(crate) fn command(&mut self, words: &[&str]) -> String {
        self.try_command(words).expect("the server answers")
    }

    /// Runs a script of the store as if it were `now`, in microseconds since 1970. Returns its raw answer.
    pub(crate) fn run_at(
        &mut self,
        now: u64,
        script: &str,
        keys: &[&str],
        arguments: &[impl AsRef<str>],
    ) -> String {
        // The clock comes as two more arguments, which the script does not see, so that its text is always the same.
        let clock = "local micros, seconds = table.remove(ARGV), table.remove(ARGV)";
        let script = format!("{clock}\n{}", script.replace("redis.call('TIME')", "{ seconds, micros }"));
        let (number, time) = (keys.len().to_string(), [now / 1_000_000, now % 1_000_000]);
        let time = time.map(|part| part.to_string());
        let mut words = vec!["EVAL", &script, &number];
        words.extend(keys);
        words.extend(arguments.iter().map(AsRef::as_ref));
        words.extend(time.iter().map(String::as_str));
        let answer = self.command(&words);
        assert!(!answer.contains("-ERR"), "{answer}");
        answer
    }

    fn try_command(&mut self, words: &[&str]) -> Option<String> {
        let mut command = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            write!(command, "${}\r\n{word}\r\n", word.len()).ok()?;
        }
        self.0.write_all(&command).ok()?;
        let mut answer = vec![0; 64 * 1024];
        let length = self.0.read(&mut answer).ok()?;
        String::from_utf8(answer[..length].to_vec()).ok()
    }
}

/// A relay to a server that can be cut.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cut: bool,
    ends: Vec<TcpStream>,
}

impl Wire {
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        // The thread ends with the test process; nobody connects to it after its test.
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let mut state = shared.lock().expect("nobody panics");
                let Some(far) = (!state.cut).then(|| TcpStream::connect(server).ok()).flatten() else {
                    continue;
                };
                state.ends.extend([near.try_clone().expect("a socket"), far.try_clone().expect("a socket")]);
                pass_on(near.try_clone().expect("a socket"), far.try_clone().expect("a socket"));
                pass_on(far, near);
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(crate) fn cut(&self) {
        let mut state = self.state.lock().expect("nobody panics");
        state.cut = true;
        for end in state.ends.drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn mend(&self) {
        self.state.lock().expect("nobody panics").cut = false;
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}
