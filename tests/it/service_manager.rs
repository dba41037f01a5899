//! Tests with a service manager: the states that it is told, and the sockets that it passes on.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use socket2::{Domain, Socket, Type};

use crate::support::{
    Config, Connection, Folder, Outcomes, PATIENCE, PUSH, Program, Request, Stub, Tokens, serve, wait_for,
    wait_until,
};

/// The manager's side of `sd_notify(3)`.
struct Manager {
    socket: UnixDatagram,
    folder: Folder,
}

impl Manager {
    fn new() -> Self {
        let folder = Folder::new();
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("an option");
        Self { socket, folder }
    }

    /// The command that starts a gateway under this manager.
    fn serve(&self, folder: &Folder, config: &Config) -> Command {
        let mut command = serve(folder, config);
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        command
    }

    /// The next message to the manager.
    fn told(&self) -> String {
        let mut message = [0; 1024];
        let length = self.socket.recv(&mut message).expect("a message");
        String::from_utf8(message[..length].to_vec()).expect("UTF-8")
    }
}

#[test]
fn it_is_told_of_the_start_of_reloads_and_of_the_end() {
    let (vendor, manager, folder) = (Stub::good(), Manager::new(), Folder::new());
    let mut gateway = Program::start(&mut manager.serve(&folder, &Config::new(&vendor.url())));
    let ready = "READY=1\nSTATUS=serving\n";
    assert_eq!(manager.told(), ready);
    for _ in 0..2 {
        gateway.signal("HUP");
        let told = manager.told();
        let microseconds = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("both in one message");
        assert!(microseconds.trim_end().parse::<u64>().is_ok_and(|time| time > 0), "{told}");
        assert_eq!(manager.told(), ready);
    }
    // The end of a refused reload is reported, too.
    folder.write("gateway.yaml", "listeners: []");
    gateway.signal("HUP");
    assert!(manager.told().starts_with("RELOADING=1\n"));
    assert_eq!(manager.told(), ready);
    gateway.signal("TERM");
    assert_eq!(manager.told(), "STOPPING=1\nSTATUS=draining\n");
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.err());
}

#[test]
fn it_is_told_that_the_workers_run() {
    let (vendor, manager, folder) = (Stub::good(), Manager::new(), Folder::new());
    let mut command = manager.serve(&folder, &Config::new(&vendor.url()));
    let gateway = Program::start(command.env("WATCHDOG_USEC", "4000000"));
    let mut told = Vec::new();
    while told.iter().filter(|message| *message == "WATCHDOG=1\n").count() < 3 {
        told.push(manager.told());
    }
    assert!(told.contains(&"READY=1\nSTATUS=serving\n".to_owned()), "{told:?}");
    // A stopped process sends nothing.
    gateway.signal("STOP");
    manager.socket.set_read_timeout(Some(std::time::Duration::from_millis(1_500))).expect("an option");
    while manager.socket.recv(&mut [0; 64]).is_ok() {}
    gateway.signal("CONT");
    manager.socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    assert_eq!(manager.told(), "WATCHDOG=1\n");
}

#[test]
fn ready_means_that_the_state_file_is_ours() {
    let (vendor, manager, state) = (Stub::good(), Manager::new(), Folder::new());
    let mut config = Config::new(&vendor.url());
    config.more = format!("state_file: \"{}\"", state.path().join("state").display());
    let folders = [Folder::new(), Folder::new()];
    let mut first = Program::start(&mut serve(&folders[0], &config));
    wait_until("the first one serves", || first.err().contains("admin listening"));
    let _second = Program::start(&mut manager.serve(&folders[1], &config));
    let waits = format!("STATUS=waiting: process {} has the state file\n", first.id());
    assert_eq!(manager.told(), waits);
    first.signal("TERM");
    assert_eq!(first.wait().code(), Some(0), "{}", first.err());
    assert_eq!(manager.told(), "READY=1\nSTATUS=serving\n");
}

/// A listening socket that a service manager passes on.
struct Passed {
    socket: Socket,
    address: SocketAddr,
}

impl Passed {
    fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
        socket.listen(1024).expect("listening");
        let address = socket.local_addr().expect("an address").as_socket().expect("an address of IP");
        Self { socket, address }
    }

    fn config(&self, vendor: &Stub) -> Config {
        let mut config = Config::new(&vendor.url());
        config.listeners = format!("{{ address: \"{}\" }}", self.address);
        config.workers = 2;
        config.budgets = "push: { limit: 1000000 }".into();
        config
    }

    /// Starts a gateway that inherits the socket. The socket's number is passed in a variable, because a shell cannot
    /// make it 3, the first number that a manager uses.
    fn start(&self, folder: &Folder, config: &Config) -> Program {
        let mut command = serve(folder, config);
        command.env("LISTEN_FDS", "1").env("LISTEN_FDS_FIRST_FD", self.socket.as_raw_fd().to_string());
        self.socket.set_cloexec(false).expect("an option");
        let program = Program::start(&mut command);
        self.socket.set_cloexec(true).expect("an option");
        program
    }
}

#[test]
fn with_its_socket_a_restart_refuses_no_connection_and_loses_no_push() {
    let (vendor, passed) = (Stub::good(), Passed::new());
    let (config, folder) = (passed.config(&vendor), Folder::new());
    let mut gateway = passed.start(&folder, &config);
    let outcomes = Outcomes::default();
    let restarts = 3;
    outcomes.during(passed.address, || {
        for _ in 0..restarts {
            outcomes.wait_for_more();
            gateway.signal("TERM");
            assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.err());
            gateway = passed.start(&folder, &config);
        }
        outcomes.wait_for_more();
    });
    outcomes.judge(&vendor, restarts);
}

#[test]
fn a_socket_that_the_configuration_does_not_ask_for_stops_the_start() {
    let (vendor, passed, folder) = (Stub::good(), Passed::new(), Folder::new());
    let mut config = passed.config(&vendor);
    config.listeners = "{ address: \"127.0.0.1:0\" }".into();
    let mut gateway = passed.start(&folder, &config);
    assert_eq!(gateway.wait().code(), Some(1));
    wait_until("it says why", || gateway.err().contains(&format!("passes a socket on {}", passed.address)));
    // If the socket is the configured one, callers that connected before the process started are served.
    let config = passed.config(&vendor);
    let mut early = Connection::open(passed.address);
    early.send(Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS).bytes());
    let _gateway = passed.start(&folder, &config);
    assert_eq!(wait_for("the answer", || Some(early.read_answer())).status, 200);
}
