//! Tests of a second start by mistake, and of signals that are meant for other programs.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use crate::support::{
    Config, Folder, Gateway, PROGRAM, PUSH, Program, Request, Stub, Tokens, run, start_failing, stderr,
    wait_until,
};

/// Addresses that are free and probably stay so for a while.
fn free(count: usize) -> Vec<SocketAddr> {
    let held = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect::<Vec<_>>();
    held.iter().map(|listener| listener.local_addr().expect("an address")).collect()
}

fn at(vendor: &Stub, listener: SocketAddr, admin: SocketAddr) -> Config {
    let mut config = Config::new(&vendor.url());
    config.listeners = format!("{{ address: \"{listener}\" }}");
    config.admin_address = admin.to_string();
    config.workers = 3;
    config
}

#[track_caller]
fn check_refused(config: &Config, address: SocketAddr) {
    let (code, err) = start_failing(&Folder::new(), config);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains(&format!("cannot listen on {address}: address in use")), "{err}");
}

#[test]
fn a_second_process_on_a_taken_address_does_not_start() {
    let vendor = Stub::good();
    let [listener, admin, other, third] = free(4)[..] else { unreachable!("four") };
    let gateway = Gateway::start(&at(&vendor, listener, admin));
    // The same configuration, another one, and one that takes the admin's address or shares it with a listener.
    check_refused(&at(&vendor, listener, admin), listener);
    let mut another = at(&vendor, listener, other);
    another.budgets = "push: { limit: 1 }".into();
    check_refused(&another, listener);
    check_refused(&at(&vendor, other, admin), admin);
    check_refused(&at(&vendor, admin, other), admin);
    // An address that includes the taken one is taken, too.
    let all = SocketAddr::from(([0, 0, 0, 0], listener.port()));
    check_refused(&at(&vendor, all, third), all);
    // The same if another program listens there.
    let stranger = TcpListener::bind(other).expect("free");
    check_refused(&at(&vendor, other, third), other);
    drop(stranger);
    for _ in 0..20 {
        let push = Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS);
        assert_eq!(gateway.call(&push).status, 200, "the first one serves on");
    }
    assert_eq!(gateway.used("app", "push"), 20, "and alone");
}

#[test]
fn of_two_that_start_at_once_one_does_not() {
    let vendor = Stub::good();
    for _ in 0..5 {
        let [listener, admin] = free(2)[..] else { unreachable!("two") };
        let config = at(&vendor, listener, admin);
        std::thread::scope(|scope| {
            let start = || start_for_a_while(&config);
            let racers = [scope.spawn(start), scope.spawn(start)];
            let serving = racers.map(|racer| racer.join().expect("no panic"));
            assert_eq!(serving.iter().filter(|program| program.is_some()).count(), 1);
        });
    }
}

/// Starts a gateway and returns it if it serves.
fn start_for_a_while(config: &Config) -> Option<Program> {
    let folder = Folder::new();
    let mut program = Program::start(&mut crate::support::serve(&folder, config));
    wait_until("it serves or ends", || program.err().contains("admin listening") || !program.runs());
    program.runs().then_some(program)
}

#[test]
fn a_process_that_ended_leaves_its_address_at_once() {
    let vendor = Stub::good();
    let [listener, admin] = free(2)[..] else { unreachable!("two") };
    let config = at(&vendor, listener, admin);
    for _ in 0..3 {
        let mut gateway = Gateway::start(&config);
        // The gateway's side of the connection stays in TIME_WAIT after the end.
        let push = Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS).header("Connection", "close");
        assert_eq!(gateway.call(&push).status, 200);
        gateway.program.signal("TERM");
        assert_eq!(gateway.program.wait().code(), Some(0), "{}", gateway.program.err());
    }
}

#[test]
fn addresses_are_shared_where_that_is_wanted() {
    let vendor = Stub::good();
    let [listener, admin] = free(2)[..] else { unreachable!("two") };
    let mut config = at(&vendor, listener, admin);
    config.drain = "{ handover: true }";
    let gateways = [Gateway::start(&config), Gateway::start(&config)];
    // With a configuration without handover, the address is not shared.
    config.drain = "{ handover: false }";
    check_refused(&config, listener);
    drop(gateways);
}

#[test]
fn the_demo_names_the_address_that_is_taken_and_all_can_be_moved() {
    let [listen, admin, sandbox] = free(3)[..] else { unreachable!("three") };
    let [listen, admin, sandbox] = [listen, admin, sandbox].map(|address| address.to_string());
    let arguments =
        |listen, admin, sandbox| ["demo", "--listen", listen, "--admin", admin, "--sandbox", sandbox];
    let mut demo = Program::start(Command::new(PROGRAM).args(arguments(&listen, &admin, &sandbox)));
    wait_until("the welcome", || demo.out().contains("Access lines follow"));
    let welcome = demo.out();
    for url in [format!("{listen}/v3/push"), format!("{admin}/status"), format!("{sandbox}/_sandbox/journal")]
    {
        assert!(welcome.contains(&format!("http://{url}")), "no {url} in {welcome}");
    }
    for default in [":8080", ":9090", ":9501"] {
        assert!(!welcome.contains(default), "{welcome}");
    }
    let open = "127.0.0.1:0";
    for (taken, arguments) in [
        (&listen, arguments(&listen, open, open)),
        (&admin, arguments(open, &admin, open)),
        (&sandbox, arguments(open, open, &sandbox)),
        (&sandbox, ["sandbox", "--listen", &sandbox, "--windows", "fixed", "--window", "60s"]),
    ] {
        let refused = run(&arguments);
        let err = stderr(&refused);
        assert_eq!(refused.status.code(), Some(1), "{err}");
        assert!(err.contains(&format!("cannot listen on {taken}: address in use")), "{err}");
    }
    demo.signal("TERM");
    assert_eq!(demo.wait().code(), Some(0));
}

#[test]
fn signals_for_others_end_nothing_and_quit_drains() {
    let vendor = Stub::good();
    let mut gateway = Gateway::start(&Config::new(&vendor.url()));
    for signal in ["USR1", "USR2", "HUP", "USR1"] {
        gateway.program.signal(signal);
    }
    // The reload is handled after those signals, so its answer shows that they were ignored.
    assert_eq!(gateway.reload().status, 200);
    assert!(gateway.program.runs());
    assert_eq!(gateway.call(&Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)).status, 200);
    gateway.program.signal("QUIT");
    assert_eq!(gateway.program.wait().code(), Some(0), "{}", gateway.program.err());
    gateway.log_line(&["draining"]);
}
