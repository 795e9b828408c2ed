//! What a client does when its connection goes away.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use tally_loadtest::{Client, Outcome, Target, WebTarget};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::timeout;

/// What the server does with a connection once it has read one request on it.
#[derive(Clone, Copy)]
enum Then {
    /// Answers with this, and closes without having said so once the client has the answer.
    CloseWhenIdle(&'static str),
    /// Answers with this, and closes at once.
    CloseAfter(&'static str),
    /// Closes.
    Close,
}

/// The test's side of a scripted server.
struct Script {
    address: SocketAddr,
    /// Says that the client has its answer, or knows that there is none.
    client_is_idle: Sender<()>,
    /// Says that the connection is closed.
    closed: mpsc::UnboundedReceiver<()>,
}

/// A server that takes one request per connection and does with it what the script says.
fn serve(script: Vec<Then>) -> Script {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (closed_to, closed) = mpsc::unbounded_channel();
    let (client_is_idle, idle) = channel();
    thread::spawn(move || {
        for then in script {
            let (mut stream, _) = listener.accept().expect("a connection");
            read_request(&mut stream);
            if let Then::CloseWhenIdle(answer) | Then::CloseAfter(answer) = then {
                stream.write_all(answer.as_bytes()).expect("the client listens");
            }
            if let Then::CloseAfter(_) | Then::Close = then {
                drop(stream);
                idle.recv().expect("the test goes on");
            } else {
                idle.recv().expect("the test goes on");
                drop(stream);
            }
            // The test stops listening when an outcome was not the expected one.
            let _ = closed_to.send(());
        }
    });
    Script { address, client_is_idle, closed }
}

fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole request");
        request.extend(byte);
    }
}

/// Makes one increment after the other, each after the server has closed the connection of the one before.
fn outcomes(script: &[Then]) -> Vec<Outcome> {
    let mut server = serve(script.to_vec());
    let target = WebTarget::resolve("127.0.0.1", server.address.port(), None).expect("an address");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut client = target.connect(0).await.expect("the server listens");
        let mut outcomes = Vec::new();
        for _ in script {
            outcomes.push(client.increment().await);
            server.client_is_idle.send(()).expect("the server waits");
            // A server that never got the request has nothing to close; then the test fails here.
            let closed = timeout(Duration::from_secs(20), server.closed.recv()).await;
            closed.expect("the server got the request").expect("the server runs");
            // Lets the event loop see the close, which the operating system has already seen.
            yield_now().await;
        }
        outcomes
    })
}

const ONE: Then = Then::CloseWhenIdle("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"count\":1}");
const CUT_OFF: Then = Then::CloseAfter("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"cou");
const REFUSED_CUT_OFF: Then =
    Then::CloseAfter("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 11\r\n\r\n{");
const NOT_HTTP: Then = Then::CloseAfter("SSH-2.0-OpenSSH_9.2\r\n");

#[test]
fn a_connection_that_was_closed_while_idle_is_replaced_and_no_call_fails() {
    let one = Outcome::Acknowledged { value: Some(1) };
    assert_eq!(outcomes(&[ONE, ONE, ONE]), [one.clone(), one.clone(), one]);
}

#[test]
fn whatever_breaks_after_the_request_was_sent_leaves_the_outcome_unknown_unless_the_status_was_a_refusal()
 {
    for then in [Then::Close, CUT_OFF, NOT_HTTP] {
        let outcomes = outcomes(&[then, ONE]);
        assert!(matches!(outcomes[0], Outcome::Unknown { .. }), "{outcomes:?}");
        assert_eq!(outcomes[1], Outcome::Acknowledged { value: Some(1) });
    }
    assert!(matches!(outcomes(&[REFUSED_CUT_OFF])[0], Outcome::Failed { .. }));
}
