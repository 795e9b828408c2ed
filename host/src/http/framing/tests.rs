use std::{cell::Cell, convert::Infallible};

use axum::{
    body::Bytes,
    http::{Request, Response},
};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    join, runtime, task,
};

use super::{Checked, Unread};

/// Requests that are changed at random.
const CASES: u64 = 4_000;

/// Bytes that mean something to a parser.
const MARKS: &[u8] = b"\r\n\r\n  \t:,;#?/%[]@.*+-0159aF\x00\x7f\xff";

const REQUESTS: [&[u8]; 8] = [
    b"POST /inc HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\nGET http://[::1]:80/x%20y?z HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST /inc HTTP/1.1\r\nHost: a.b:80\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n{\"by\":12345}",
    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1;x=y\r\n{\r\nA\r\n\"by\":1234}\r\n0\r\nx: y\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
    b"GET http://%61/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD / HTTP/1.2\r\nHost: %61\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n",
];

/// A generator of numbers that are random enough (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// A few requests, some bytes of which were replaced, left out or repeated.
fn changed(random: &mut Random) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=random.below(3))
        .flat_map(|_| REQUESTS[random.below(REQUESTS.len())])
        .copied()
        .collect();
    for _ in 0..random.below(4) {
        let from = random.below(bytes.len() - 1);
        let to = (from + random.below(20)).min(bytes.len());
        match random.below(4) {
            0 => bytes[from] = MARKS[random.below(MARKS.len())],
            1 => bytes.insert(from, MARKS[random.below(MARKS.len())]),
            2 => bytes.splice(from..from, bytes[from..to].to_vec()).for_each(drop),
            _ if to - from < bytes.len() - 2 => bytes.drain(from..to).for_each(drop),
            _ => {}
        }
    }
    bytes
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let told = match request.into_body().collect().await {
        Ok(_) => "read",
        Err(_) => "broken",
    };
    Ok(Response::builder().header("connection", "x").body(Full::from(told)).unwrap())
}

/// What is answered to `bytes` that come in pieces, dates left out.
async fn exchange(bytes: &[u8], piece_bytes: usize) -> String {
    let (mut client, server) = duplex(1 << 16);
    let checked = Checked::new(server, 8192, Unread::default(), |_| ());
    let served = http1::Builder::new()
        .half_close(true)
        .auto_date_header(false)
        .max_buf_size(8192)
        .serve_connection(TokioIo::new(checked), service_fn(answer));
    let client = async {
        for piece in bytes.chunks(piece_bytes) {
            // The connection may have ended, of which the answers say why.
            let _ = client.write_all(piece).await;
            task::yield_now().await;
        }
        let _ = client.shutdown().await;
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        let received = String::from_utf8(received).unwrap();
        received.lines().filter(|line| !line.starts_with("date: ")).collect::<Vec<_>>().join("\n")
    };
    // An error is a body that breaks off.
    let (_, received) = join!(served, client);
    received
}

#[test]
fn hyper_takes_whatever_was_let_through_however_it_comes() {
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..CASES {
        let bytes = changed(&mut random);
        let piece_bytes = 1 + random.below(40);
        let (whole, pieces) = runtime.block_on(async {
            (exchange(&bytes, bytes.len()).await, exchange(&bytes, piece_bytes).await)
        });
        let shown = String::from_utf8_lossy(&bytes);
        assert_eq!(whole, pieces, "{shown:?} in pieces of {piece_bytes} bytes");
        // hyper's own refusals are empty.
        assert!(
            !whole.contains("HTTP/1.1 4") || whole.contains("application/problem+json"),
            "{shown:?}: {whole}"
        );
        answered += usize::from(whole.contains("200 OK"));
        refused += usize::from(whole.contains("problem+json"));
    }
    assert!(CASES as usize / 4 < answered, "{answered} were answered");
    assert!(CASES as usize / 4 < refused, "{refused} were refused");
}

#[tokio::test]
async fn a_refusal_is_counted_when_it_is_told_and_not_before() {
    let (mut client, server) = duplex(1 << 10);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/2.0\r\n\r\n").await.unwrap();
    let refused = Cell::new(0);
    let count = |_| refused.set(refused.get() + 1);
    let mut checked = Checked::new(server, 8192, Unread::default(), count);
    let mut request = [0; 100];
    assert_eq!(checked.read(&mut request).await.unwrap(), 27);
    // The answer to the first one may still be written, or the connection may break.
    assert_eq!(refused.get(), 0);
    assert_eq!(checked.read(&mut request).await.unwrap(), 0);
    checked.shutdown().await.unwrap();
    assert_eq!(refused.get(), 1);
    let mut told = vec![0; 12];
    client.read_exact(&mut told).await.unwrap();
    assert_eq!(told, b"HTTP/1.1 505");
}
