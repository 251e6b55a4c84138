package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/spf13/cobra"

	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/packet"
)

// traceOptions are the flags of trace.
type traceOptions struct {
	dev, out  string
	local     bool
	ct        string
	hex, pcap string
	count     int
	ruleset   string
	caps      string
	json      bool

	conntrack *eval.Conntrack // what ct says
}

func traceCommand(e *env) *cobra.Command {
	var o traceOptions
	c := &cobra.Command{
		Use:   "trace [PACKET]",
		Short: "say which rules a packet meets, what becomes of it, and where that is decided",
		Long: `trace takes a packet through the ruleset without sending it: the rules of every
chain it meets, the verdict, and for each rule the tier that decides it.

PACKET is a description in nft's names: fields and values, one after the other.
What it does not say is as usual: a TCP SYN where no protocol is named, right
checksums, TTL 64. --hex takes a whole Ethernet frame, --pcap a capture.

--dev is where the packet comes in; with --out it is forwarded, with --local it
is for this host, with neither the trace ends after prerouting. --out without
--dev is a packet that this host sends. Connection tracking is not asked: --ct
says what it knows (state, status, direction, mark, label, zone, helper).

Where a rule needs what nobody has said, or depends on packets before (limit,
quota), trace says so and shows both ways.

Of a packet that comes to "flow add", trace says whether the kernel's flowtable
takes its flow, and whether such a packet is carried once it has, or stays slow.
With --ct state=established it says the latter of every flowtable on --dev.`,
		Example: `  nft-offload trace --dev eth0 --out eth1 'ip saddr 192.0.2.1 tcp dport 443'
  nft-offload trace --dev eth0 --local --ct state=new 'udp dport 53'
  nft-offload trace --dev eth0 --ruleset firewall.nft --hex "$(cat frame.hex)"
  nft-offload trace --dev eth0 --out eth1 --ct state=established 'ip ttl 1'
  nft-offload trace --dev eth0 --pcap capture.pcap --count 3 --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return e.trace(o, args) },
	}
	f := c.Flags()
	f.StringVar(&o.dev, "dev", "", "the `DEVICE` the packet comes in on")
	f.StringVar(&o.out, "out", "", "the `DEVICE` it leaves by")
	f.BoolVar(&o.local, "local", false, "the packet is for this host")
	f.StringVar(&o.ct, "ct", "", "what connection tracking knows: `KEY=VALUE,...`")
	f.StringVar(&o.hex, "hex", "", "the packet is this Ethernet `FRAME`, in hexadecimal")
	f.StringVar(&o.pcap, "pcap", "", "the packets are those of a `FILE` of tcpdump")
	f.IntVar(&o.count, "count", 1, "how many packets of the file")
	f.StringVar(&o.ruleset, "ruleset", "", "trace in this `FILE` instead of the live ruleset; - is standard input")
	f.StringVar(&o.caps, "caps", "", "tiers of another machine: a `FILE|PROFILE`, as for plan")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func (e *env) trace(o traceOptions, args []string) error {
	if err := o.check(args); err != nil {
		return err
	}
	packets, err := o.packets(args)
	if err != nil {
		return err
	}
	rs, err := e.readRuleset("trace", o.ruleset, "trace in a file with --ruleset")
	if err != nil {
		return err
	}
	tr, err := e.tracer(rs, o)
	if err != nil {
		return err
	}
	var out []traced
	for _, p := range packets {
		out = append(out, traced{Packet: describePacket(p), Ways: tr.ways(p)})
	}
	if o.json {
		return e.printJSON(out)
	}
	for _, t := range out {
		e.printTrace(t)
	}
	return nil
}

// check is about flags that do not go together.
func (o *traceOptions) check(args []string) error {
	given := len(args)
	for _, s := range []string{o.hex, o.pcap} {
		if s != "" {
			given++
		}
	}
	switch {
	case given != 1:
		return usage("which packet? a description, --hex or --pcap, and only one of them")
	case o.dev == "" && o.out == "":
		return usage("where does the packet come in? --dev DEVICE, or --out DEVICE for one that this host sends")
	case o.local && (o.dev == "" || o.out != ""):
		return usage("--local goes with --dev and without --out")
	case o.count < 1:
		return usage("--count %d: at least one packet", o.count)
	}
	for _, d := range []string{o.dev, o.out} {
		if strings.ContainsFunc(d, func(r rune) bool { return r <= ' ' || r == '/' || r == 0x7f }) || len(d) >= deviceNameSize {
			return usage("%q is not the name of a device", d)
		}
	}
	if o.ct != "" {
		ct, err := eval.ParseConntrack(o.ct)
		if err != nil {
			return usage("--ct: %w", err)
		}
		o.conntrack = ct
	}
	return nil
}

// deviceNameSize is IFNAMSIZ (include/uapi/linux/if.h): room for a name and the zero behind it.
const deviceNameSize = 16

// packets are the packets to trace, with what the flags say about them.
func (o *traceOptions) packets(args []string) ([]eval.Packet, error) {
	var ps []eval.Packet
	switch {
	case o.pcap != "":
		frames, err := readPcap(o.pcap, o.count)
		if err != nil {
			return nil, err
		}
		ps = frames
	case o.hex != "":
		b, err := hex.DecodeString(strings.NewReplacer(" ", "", ":", "", "\n", "").Replace(o.hex))
		if err != nil || len(b) < packet.EthernetLen {
			return nil, usage("--hex: not an Ethernet frame in hexadecimal")
		}
		ps = []eval.Packet{{Frame: b, NoSocket: true}}
	default:
		p, err := eval.Describe(args[0])
		if err != nil {
			return nil, usage("packet: %w", err)
		}
		ps = []eval.Packet{p}
	}
	for i := range ps {
		o.place(&ps[i])
	}
	return ps, nil
}

// place says where a packet comes from and goes to.
func (o *traceOptions) place(p *eval.Packet) {
	p.CT = o.conntrack
	if o.dev != "" {
		p.In = &eval.Device{Name: o.dev}
		if dst := packet.MAC(p.Frame[:min(len(p.Frame), 6)]); !p.Bare && dst[0]&1 == 0 {
			p.In.MAC = &dst // a packet that is traced is for this host
		}
	}
	if o.out != "" {
		p.Out = &eval.Device{Name: o.out}
	}
	switch {
	case o.dev == "":
		p.Route = eval.RouteOutput
	case o.out != "":
		p.Route = eval.RouteForward
	case o.local:
		p.Route = eval.RouteInput
	}
}

// readPcap reads the first packets of a capture.
func readPcap(name string, n int) ([]eval.Packet, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, usage("--pcap: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	r, err := pcapgo.NewReader(f)
	if err != nil {
		return nil, usage("--pcap %s: %w", name, err)
	}
	link := r.LinkType()
	if link != layers.LinkTypeEthernet && link != layers.LinkTypeRaw {
		return nil, usage("--pcap %s: captured on %s; Ethernet and raw IP can be traced", name, link)
	}
	var ps []eval.Packet
	for len(ps) < n {
		data, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, usage("--pcap %s: packet %d: %w", name, len(ps)+1, err)
		}
		if link == layers.LinkTypeEthernet && len(data) < packet.EthernetLen || len(data) == 0 {
			return nil, usage("--pcap %s: packet %d has %d bytes", name, len(ps)+1, len(data))
		}
		ps = append(ps, eval.Packet{Frame: data, Bare: link == layers.LinkTypeRaw, NoSocket: true})
	}
	if len(ps) == 0 {
		return nil, usage("--pcap %s: no packet in it", name)
	}
	return ps, nil
}

// describePacket says in a line what packet it is.
func describePacket(p eval.Packet) string {
	text := fmt.Sprintf("frame of %d bytes", len(p.Frame))
	if !p.Bare {
		if h, err := packet.Decode(p.Frame); err == nil {
			text = fmt.Sprintf("%s, %d bytes", h.Tuple, len(p.Frame))
			if h.Tuple.Proto == packet.TCP {
				text += ", " + h.Flags.String()
			}
		}
	}
	if p.In != nil {
		text += ", in " + p.In.Name
	}
	if p.Out != nil {
		text += ", out " + p.Out.Name
	}
	return text
}
