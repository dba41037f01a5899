//! Runs the program as a child process, reads its output, and stops it by its process id.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::{Answer, Config, Connection, Folder, Keys, PROGRAM, Request, wait_for};

/// A running program whose output is collected, unless it goes elsewhere. It is killed on drop.
pub(crate) struct Program {
    child: Child,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let out = read_along(child.stdout.take().expect("piped"));
        let err = read_along(child.stderr.take().expect("piped"));
        Self { child, out, err }
    }

    /// Starts it with these outputs.
    fn start_into(command: &mut Command, out: Stdio, err: Stdio) -> Self {
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        Self { child: child.expect("the program starts"), out: Arc::default(), err: Arc::default() }
    }

    /// Its standard output so far.
    pub(crate) fn out(&self) -> String {
        self.out.lock().expect("no reader panics").clone()
    }

    /// Its standard error so far.
    pub(crate) fn err(&self) -> String {
        self.err.lock().expect("no reader panics").clone()
    }

    /// The process id of the program.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
    }

    /// Waits until the program ends.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait_for("the end of the program", || child.try_wait().expect("a child of ours"))
    }

    /// Whether the program still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_along(stream: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&text);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
            sink.lock().expect("no reader panics").push_str(&line);
            line.clear();
        }
    });
    text
}

/// A running gateway that listens on its addresses.
pub(crate) struct Gateway {
    pub(crate) program: Program,
    /// Listening addresses, in the configuration's order.
    pub(crate) listeners: Vec<SocketAddr>,
    pub(crate) admin: SocketAddr,
    /// The folder of its configuration and files.
    pub(crate) folder: Folder,
}

impl Gateway {
    pub(crate) fn start(config: &Config) -> Self {
        Self::start_in(Folder::new(), config)
    }

    /// Starts in a folder that has the files that the configuration names.
    pub(crate) fn start_in(folder: Folder, config: &Config) -> Self {
        let command = serve(&folder, config);
        Self::start_by(folder, command)
    }

    /// Starts by a command that serves a configuration in this folder.
    pub(crate) fn start_by(folder: Folder, mut command: Command) -> Self {
        let mut program = Program::start(&mut command);
        let admin = wait_for("the line that tells where the admin listener is", || {
            assert!(program.runs(), "the gateway did not start: {}", program.err());
            addresses(&program.err(), "admin listening").pop()
        });
        // The listeners' lines come before the admin's and end in the same words.
        let err = program.err();
        let listeners = addresses(&err, "listening").into_iter().filter(|known| *known != admin);
        let listeners = listeners.collect();
        Self { program, listeners, admin, folder }
    }

    /// Starts with these outputs. Addresses cannot be read from them, so the ports are chosen before.
    pub(crate) fn start_into(mut config: Config, out: Stdio, err: Stdio) -> Self {
        let folder = Folder::new();
        let [listener, admin] = free_addresses();
        config.listeners = format!("{{ address: \"{listener}\" }}");
        config.admin_address = admin.to_string();
        let mut program = Program::start_into(&mut serve(&folder, &config), out, err);
        super::wait_until("the gateway listens", || {
            assert!(program.runs(), "the gateway did not start");
            std::net::TcpStream::connect(admin).is_ok()
        });
        Self { program, listeners: vec![listener], admin, folder }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listeners[0]
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address())
    }

    /// Makes one call on a new connection.
    pub(crate) fn call(&self, request: &Request) -> Answer {
        self.connect().call(request)
    }

    /// Sends bytes on a new connection and reads one answer.
    pub(crate) fn exchange(&self, bytes: impl AsRef<[u8]>) -> (Answer, Connection) {
        let mut connection = self.connect();
        connection.send(bytes);
        (connection.read_answer(), connection)
    }

    /// Gets a page of the admin listener.
    pub(crate) fn page(&self, path: &str) -> Answer {
        Connection::open(self.admin).call(&Request::get(path).header("Connection", "close"))
    }

    /// Replaces the configuration file, without reloading.
    pub(crate) fn write_config(&self, yaml: &str) {
        self.folder.write("gateway.yaml", yaml);
    }

    /// Asks the gateway to reload.
    pub(crate) fn reload(&self) -> Answer {
        let request = Request::new("POST", "/reload").header("Connection", "close");
        Connection::open(self.admin).call(&request)
    }

    pub(crate) fn status(&self) -> Value {
        self.page("/status").json()
    }

    /// The value of one series, or 0 if there is none.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let page = self.page("/metrics").text();
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Slots of the tenant shop's budget that are in use.
    pub(crate) fn used(&self, credential: &str, budget: &str) -> u64 {
        let status = self.status();
        let used = &status["tenants"]["shop"][credential]["budgets"][budget]["used"];
        used.as_u64().unwrap_or_else(|| panic!("no {credential} {budget} in {status}"))
    }

    /// Log lines that contain all of these texts.
    pub(crate) fn logged(&self, texts: &[&str]) -> Vec<String> {
        let log = self.program.err();
        let fits = |line: &&str| texts.iter().all(|text| line.contains(text));
        log.lines().filter(fits).map(str::to_owned).collect()
    }

    /// The first log line that contains all of these texts; waits until it is written.
    #[track_caller]
    pub(crate) fn log_line(&self, texts: &[&str]) -> String {
        let start = std::time::Instant::now();
        loop {
            if let Some(line) = self.logged(texts).into_iter().next() {
                return line;
            }
            assert!(start.elapsed() < super::PATIENCE, "no line with {texts:?} in {}", self.program.err());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// The access lines so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let out = self.program.out();
        out.lines().map(|line| serde_json::from_str(line).expect("access lines are JSON")).collect()
    }

    /// The access line of a request; waits until it is written.
    pub(crate) fn line(&self, request_id: &str) -> Value {
        let find = || self.lines().into_iter().find(|line| line["request_id"] == request_id);
        wait_for("the access line", find)
    }
}

/// The command that starts a gateway in a folder.
pub(crate) fn serve(folder: &Folder, config: &Config) -> Command {
    folder.write("shop-dev", format!("{}\n", Keys::SHOP_DEV_SECRET));
    let path = folder.write("gateway.yaml", config.yaml());
    let mut command = match config.shell {
        "" => Command::new(PROGRAM),
        shell => {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("{shell}\nexec \"$0\" \"$@\""), PROGRAM]);
            command
        }
    };
    command.arg("serve").arg("--config").arg(path).env("SHOP_APP_SECRET", Keys::SHOP_APP_SECRET);
    command.env("JPUSH_GATEWAY_LOG", config.log);
    command
}

/// Starts a gateway that must refuse to start, and returns its output.
pub(crate) fn start_failing(folder: &Folder, config: &Config) -> (i32, String) {
    let output = serve(folder, config).output().expect("the program starts");
    (output.status.code().expect("an exit code"), super::stderr(&output))
}

/// Addresses on which nobody listens.
fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let taken = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    taken.map(|listener| listener.local_addr().expect("an address"))
}

/// The addresses in log lines with this message, in either format.
fn addresses(log: &str, message: &str) -> Vec<SocketAddr> {
    let find = |line: &str| {
        if let Ok(json) = serde_json::from_str::<Value>(line) {
            return json["address"].as_str().filter(|_| json["message"] == message)?.parse().ok();
        }
        line.split_once(&format!(" {message} address="))?.1.trim().parse().ok()
    };
    log.lines().filter_map(find).collect()
}
