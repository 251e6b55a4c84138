package packet

import (
	"encoding/hex"
	"net"
)

// MAC is an Ethernet address as a comparable value.
type MAC [6]byte

// String renders the address as "02:00:00:00:01:02".
func (m MAC) String() string {
	b := make([]byte, 0, 3*len(m))
	for i, c := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = hex.AppendEncode(b, []byte{c})
	}
	return string(b)
}

// HardwareAddr returns a copy of the address in the standard library's type.
func (m MAC) HardwareAddr() net.HardwareAddr { return net.HardwareAddr(m[:]) }
