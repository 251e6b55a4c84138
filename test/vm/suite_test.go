// Package vm_test runs the product under Debian's kernels, which have what the build machine's may lack: one boot a kernel
// runs all groups of suite, and what they prove is docs/matrix.md.
package vm_test

import (
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit/vm"
)

const module = "github.com/nft-offload/nft-offload"

// suite is everything that runs under each kernel. A test package joins as a group; a test of its own kernel features is a
// file with the build tag "guest".
func suite() vm.Suite {
	return vm.Suite{
		// kfuncs of a module are only there when it is loaded; other modules load by themselves.
		Modules: []string{"nf_conntrack", "nf_flow_table", "nft_flow_offload", "veth", "nfnetlink_queue", "nft_queue", "tun", "ppp_generic", "pppox", "pppoe", "ppp_async", "ppp_synctty"},
		Groups: []vm.Group{
			{Name: "smoke", Script: flowtable},
			{
				Name: "programs", Package: module + "/internal/datapath", Timeout: time.Minute,
				Tests: []string{"TestProgramsAreEasyToVerify"},
			},
			{
				// Programs of rules of all shapes and sizes, for this kernel's verifier, and how they follow each other.
				Name: "rules: programs", Package: module + "/test/ruleset", Timeout: 6 * time.Minute,
				Tests: []string{
					"TestProgramsOfAllShapesLoad", "TestNoPacketIsLostOrLetThroughWhileProgramsAreSwapped/before.flows/tc",
					"TestFlowsAreCarriedBehindRulesThatAreExecutedEarly", "TestKilledDaemonLeavesTheRulesToNftables/tc",
				},
			},
			{
				// What generated programs are made of.
				Name: "rules: maps", Package: module + "/internal/datapath/rules", Timeout: 2 * time.Minute,
				Tests: []string{"TestArena", "TestGrace", "TestContents_Timeouts", "TestRulesAreExecuted", "TestCounters", "TestProgramThatTheVerifierRefuses"},
			},
			{
				Name: "rules: lookups", Package: module + "/internal/bpfgen/lookup", Timeout: 2 * time.Minute,
				Tests: []string{"TestTreeFindsWhatGoFinds/64_64_16", "TestTuplesGiveTheLowestRule/128"},
			},
			{
				// What this kernel tells of elements, and in which order.
				Name: "rules: elements", Package: module + "/internal/nft", Timeout: 2 * time.Minute,
				Tests: []string{"TestElements_(Types|AutoMerge|FirstAndLastKey|VerdictMap|ElementsOfTheirOwn)", "TestSetWatch_(Commands|Subscribe|ExpiredElement)"},
			},
			{
				// The same programs against this kernel's nftables.
				Name: "rules: differential", Package: module + "/test/rules", Timeout: 4 * time.Minute,
				Tests: []string{"TestKeptCases", "TestRandomRules"},
			},
			{
				// The program as a user has it, on the kernel's own flowtable.
				Name: "router example", Package: module + "/test/flows", Timeout: 4 * time.Minute,
				Tests: []string{"TestRouterExampleOnARealFlowtable", "TestFlushAndHoldOnARealFlowtable"},
			},
			{
				// Devices that are missing or refuse, and the way back, where the kernel has flowtables.
				Name: "load", Package: module + "/internal/nft", Timeout: 4 * time.Minute,
				Tests: []string{"TestLoadDevices", "TestLoad_OnThisKernel", "TestRestore_(Table|Lowered|Flowtable|Nothing)"},
			},
			{
				Name: "confirm", Package: module + "/test/daemon", Timeout: 3 * time.Minute,
				Tests: []string{"TestRollbackOfARealFlowtable"},
			},
			{
				// Drivers are asked, where the kernel has what they are asked for.
				Name: "doctor", Package: module + "/test/daemon", Timeout: 2 * time.Minute,
				Tests: []string{"TestDoctorAsksDriversOnAStockKernel"},
			},
			{
				Name: "why", Package: module + "/test/why", Timeout: 3 * time.Minute,
				Tests: []string{"TestFlowOnARealFlowtable"},
			},
			{
				// The datapath against the kernel, byte for byte, and on top of the kernel's own flowtable.
				Name: "oracle", Package: module + "/test/oracle", Timeout: 4 * time.Minute,
				Tests: []string{
					"TestSameBytesAsKernel/(tc|xdp)/dnat.masquerade", "TestRealFlowtable$", "TestRealFlowtableChange/ruleset",
					"TestPacketsHeld", "TestFlowWithThreeTags", "TestFlowOutOfIPsec", "TestUnanswered",
				},
			},
			{
				// The same with devices that stand on others.
				Name: "oracle of stacks", Package: module + "/test/oracle", Timeout: 6 * time.Minute,
				Tests: []string{"TestSameBytesThrough(VLANs|PPPoE)"},
			},
			{
				Name: "devices", Package: module + "/internal/link", Timeout: 2 * time.Minute,
				Tests: []string{"TestKindsOfDevices", "TestWatchBonds"},
			},
			{
				// Shapers that the build machine's kernel has not.
				Name: "shaping", Package: module + "/test/shaping", Timeout: 6 * time.Minute,
				Tests: []string{"OnAStockKernel"},
			},
			{
				// Every path a router may have, and the kernel's own flowtable under everything that happens to it.
				Name: "paths", Package: module + "/test/paths", Timeout: 15 * time.Minute,
			},
			{
				// The row of the reliability table that sets the clock: the host's is everybody's.
				Name: "reliability", Package: module + "/test/soak", Timeout: 4 * time.Minute,
				Tests: []string{"TestReliability/clock.set"},
			},
		},
		// What Debian's ppp, pppoe and wireguard-tools need; a guest has the host's files, too.
		Packages: []string{"libdbus-1-3", "libpcap0.8", "libssl3", "ppp", "pppoe", "wireguard-tools"},
	}
}

// flowtable is what the tests under these kernels rest on: BTF, a real flowtable, and modules that load by themselves.
const flowtable = `
test -s /sys/kernel/btf/vmlinux
ip netns add smoke
ip -n smoke link add a0 type veth peer name a1
ip -n smoke link add b0 type veth peer name b1
ip netns exec smoke nft -f - <<'NFT'
table inet filter {
	flowtable f1 {
		hook ingress priority 0
		devices = { a0, b0 }
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		meta l4proto { tcp, udp } ct state established flow add @f1
		ct state established,related accept
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "b0" masquerade
	}
}
NFT
ip netns exec smoke nft list flowtables | grep -F 'devices = { a0, b0 }'
ip netns exec smoke tc qdisc add dev a0 clsact
ip netns exec smoke tc -s qdisc show dev a0
for m in nft_masq nft_ct; do grep "^$m " /proc/modules; done
ip netns del smoke
`
