//! A Redis server for a single test, and a connection to it that can be cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Folder, wait_until};

/// A server without persistence: it is empty after a restart. It is killed on drop.
pub(crate) struct Redis {
    pub(crate) address: SocketAddr,
    child: Child,
    folder: Folder,
}

impl Redis {
    /// Starts on a port that was free just now; if somebody else took it, on another.
    pub(crate) fn start() -> Self {
        let folder = Folder::new();
        for _ in 0..20 {
            let free = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = free.local_addr().expect("an address");
            drop(free);
            let mut child = serve(address, &folder);
            if answers(address, &mut child) {
                return Self { address, child, folder };
            }
            let _ = child.wait();
        }
        panic!("redis-server does not start");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
    }

    /// Starts again on the same port, without data.
    pub(crate) fn start_again(&mut self) {
        wait_until("the server's new start", || {
            self.child = serve(self.address, &self.folder);
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

fn serve(address: SocketAddr, folder: &Folder) -> Child {
    let mut command = Command::new("redis-server");
    command.args([
        "--port",
        &address.port().to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
    ]);
    command.arg("--dir").arg(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server is installed; scripts/test does that")
}

/// Whether the started process came to answer.
fn answers(address: SocketAddr, child: &mut Child) -> bool {
    let mut up = false;
    wait_until("the server's start", || {
        let ended = child.try_wait().expect("a child of ours").is_some();
        up = !ended && ask(address, &["PING"]).is_some_and(|answer| answer == "+PONG\r\n");
        up || ended
    });
    up
}

fn ask(address: SocketAddr, words: &[&str]) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "*{}\r\n", words.len()).ok()?;
    for word in words {
        write!(stream, "${}\r\n{word}\r\n", word.len()).ok()?;
    }
    let mut answer = vec![0; 64 * 1024];
    let length = stream.read(&mut answer).ok()?;
    String::from_utf8(answer[..length].to_vec()).ok()
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
