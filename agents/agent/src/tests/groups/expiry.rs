//! Committed offsets over weeks, which virtual time makes short (KIP-211).

use tarn_model::caps;
use tarn_runtime::SimulatedHost;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Days pass on the machine, and then the process works on for a minute: it writes entries, and looks at
/// all groups.
async fn pass(host: &SimulatedHost, days: u32) {
    for _ in 0..days {
        host.sleep(DAY);
        sleep(Duration::from_secs(10)).await;
    }
    sleep(Duration::from_secs(60)).await;
}

async fn groups(client: &mut Client) -> Vec<String> {
    let listed = client.call(4, ListGroupsRequest::default()).await.groups;
    listed
        .into_iter()
        .map(|group| group.group_id.0.to_string())
        .collect()
}

#[test]
fn committed_offsets_expire_a_week_after_the_group_is_empty() {
    assert_eq!(caps::OFFSETS_RETENTION, 7 * DAY);
    let mut simulation = turmoil::Builder::new()
        .rng_seed(11)
        .tick_duration(Duration::from_millis(10))
        .simulation_duration(Duration::from_secs(3600))
        .build();
    simulation.client("agent", async {
        let host = SimulatedHost::new(11);
        let agent = Cluster::simulated(&host, settings()).await;
        let mut client = agent.with_topic("orders", 1).await;
        let mut quiet = join("", None).with_session_timeout_ms(1_800_000);
        let first = client.call(7, quiet.clone()).await;
        quiet = quiet.with_member_id(first.member_id);
        let joined = client.call(7, quiet).await;
        client.call(5, sync(&joined, &[])).await;
        let member = joined.member_id.clone();
        let done = commit(&mut client, joined.generation_id, &member, "orders", 5).await;
        assert_eq!(done, ErrorCode::None);

        // A member that commits nothing for weeks keeps them …
        pass(&host, 15).await;
        assert_eq!(heartbeat(&mut client, &joined).await, ErrorCode::None);
        assert_eq!(committed(&mut client, "orders").await, 5);
        // … and for a week after it left, however old they are by then.
        let leave = MemberIdentity::default().with_member_id(member);
        let leave = LeaveGroupRequest::default()
            .with_group_id(group("g"))
            .with_members(vec![leave]);
        assert_eq!(client.call(4, leave).await.error_code, 0);
        pass(&host, 6).await;
        assert_eq!(committed(&mut client, "orders").await, 5);
        assert_eq!(groups(&mut client).await, ["g"]);
        pass(&host, 2).await;
        assert_eq!(committed(&mut client, "orders").await, -1);
        assert!(groups(&mut client).await.is_empty());

        // Who commits without ever having joined has a week from each commit.
        for _ in 0..2 {
            assert_eq!(
                commit(&mut client, -1, "", "orders", 7).await,
                ErrorCode::None
            );
            pass(&host, 6).await;
            assert_eq!(committed(&mut client, "orders").await, 7);
        }
        pass(&host, 2).await;
        assert_eq!(committed(&mut client, "orders").await, -1);
        agent.node.drain().await;
        Ok(())
    });
    simulation.run().expect("the simulation ends");
}
