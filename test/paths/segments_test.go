//go:build guest

package paths

import (
	"net"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// end is one end of a TCP connection.
type end struct{ *net.TCPConn }

// segments returns how many segments it has sent, acknowledgments and repetitions included.
func (e end) segments() (uint64, error) {
	info, err := testkit.Info(e.TCPConn)
	if err != nil {
		return 0, err
	}
	return uint64(info.Segs_out), nil
}
