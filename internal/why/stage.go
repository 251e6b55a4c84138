package why

// Stage names where a flow's way to the fast path ends. Programs may rely on the names.
type Stage string

// The stages of flows, in the order of a flow's life.
const (
	NotForwarded    Stage = "not-forwarded"
	NotTracked      Stage = "not-tracked"
	NoFlowAdd       Stage = "no-flow-add"
	State           Stage = "state"
	NotHandedOver   Stage = "not-handed-over"
	DeviceNotListed Stage = "device-not-listed"
	DeviceOff       Stage = "device-off"
	Waiting         Stage = "waiting"
	Refused         Stage = "refused"
	Carried         Stage = "carried"
	KernelFlowtable Stage = "kernel-flowtable"
	Hardware        Stage = "hardware"
)

// The stages of devices besides DeviceNotListed and DeviceOff, and of rules.
const (
	DeviceOn Stage = "device-on"
	RuleTier Stage = "rule"
)

// StageInfo explains a stage for the documentation.
type StageInfo struct {
	Stage Stage
	Text  string
}

// Stages lists the stages of flows in order.
func Stages() []StageInfo {
	return []StageInfo{
		{NotForwarded, "the flow begins or ends on this machine; only forwarded packets are carried"},
		{NoFlowAdd, "no rule of the ruleset hands flows over; `nft-offload enable` is for such rulesets"},
		{NotTracked, "conntrack has no such connection: packets pass untracked, in another network namespace, or no more"},
		{State, "the connection is of a protocol or in a state that no fast path takes"},
		{NotHandedOver, "there are `flow add` rules, and none of them has taken this flow"},
		{DeviceNotListed, "no flowtable lists a device that the flow passes"},
		{DeviceOff, "a device that the flow passes is kept off the fast path, for the reason named"},
		{Waiting, "nothing is wrong, but something has to come first: the daemon, a packet of the other direction, more packets"},
		{Refused, "the datapath or conntrack has a lasting reason against this flow, which is named"},
		{Carried, "the datapath forwards its packets"},
		{KernelFlowtable, "the kernel's own flowtable has the flow, and nft-offload does not, for the reason named"},
		{Hardware, "a device forwards its packets"},
	}
}

// Reasons that are this package's own: of what nobody has seen. All others are those of package reason.
const (
	reasonNoDaemon  = "no-daemon"
	reasonNoPackets = "no-packets"
	reasonUnseen    = "not-seen"
)
