//! Clients that take and give their time; which is simulated.

use std::future::pending;

use bytes::BytesMut;
use tokio::io::duplex;

use super::*;

const PACE: Pace = Pace {
    stall: Duration::from_secs(30),
};

/// Writes what a reader takes in steps of 1 KiB; the time is simulated.
async fn write_to_a_reader(bytes: usize, pause: Duration) -> io::Result<()> {
    let (near, mut far) = duplex(1 << 10);
    let mut guarded = Guarded::new(near, PACE);
    let reading = async {
        let mut step = [0; 1 << 10];
        while matches!(far.read(&mut step).await, Ok(1..)) {
            sleep(pause).await;
        }
        pending::<()>().await;
    };
    tokio::select! {
        written = async { guarded.write_all(&vec![0; bytes]).await } => written,
        () = reading => unreachable!("it reads for ever"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_is_waited_for_and_a_trickle_is_not() {
    let slow = Duration::from_millis(15); // 68 KiB a second
    write_to_a_reader(10 << 20, slow)
        .await
        .expect("slow, but fast enough");
    // Each step is in time for the stall, but all of it would take three hours.
    let trickle = Duration::from_secs(10);
    let began = Instant::now();
    let error = write_to_a_reader(1 << 20, trickle)
        .await
        .expect_err("too slow");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(began.elapsed() < Duration::from_secs(60));
    // What is small may take a stall's time.
    write_to_a_reader(3 << 10, trickle)
        .await
        .expect("it is in time");
}

/// Reads what a writer gives in steps of 1 KiB.
async fn read_from_a_writer(length: usize, pause: Duration) -> Result<(), Late> {
    let (mut near, mut far) = duplex(1 << 10);
    let writing = async {
        while far.write_all(&[0; 1 << 10]).await.is_ok() {
            sleep(pause).await;
        }
        pending::<()>().await;
    };
    let mut body = BytesMut::new();
    tokio::select! {
        filled = PACE.fill(&mut near, &mut body, length) => {
            assert!(filled.is_err() || body.len() == length);
            filled
        }
        () = writing => unreachable!("it writes for ever"),
    }
}

#[tokio::test(start_paused = true)]
async fn who_sends_may_be_as_slow_as_who_reads() {
    let slow = Duration::from_millis(15);
    assert_eq!(read_from_a_writer(10 << 20, slow).await, Ok(()));
    let trickle = Duration::from_secs(10);
    let all = read_from_a_writer(1 << 20, trickle).await;
    assert_eq!(all, Err(Late::TooSlow));
    assert_eq!(read_from_a_writer(3 << 10, trickle).await, Ok(()));
    let silent = Duration::from_secs(40);
    let all = read_from_a_writer(16 << 20, silent).await;
    assert_eq!(all, Err(Late::Stalled));
}
