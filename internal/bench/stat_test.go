package bench

import (
	"math"
	"testing"
)

func TestMedianIntervalOfElevenIsSecondToTenth(t *testing.T) {
	var samples []float64
	for i := range 11 {
		samples = append(samples, float64((i*7)%11)) // 0 to 10, not in order
	}
	low, high, confidence := medianInterval(samples)
	// 1 - 2*(C(11,0)+C(11,1))/2^11: tables of the sign test have 98.8 %.
	if low != 1 || high != 9 || math.Abs(confidence-0.98828) > 1e-5 {
		t.Errorf("got %v to %v with %v, want 1 to 9 with 0.98828", low, high, confidence)
	}
}

func TestMedianIntervalOfFewSaysHowLittleItCovers(t *testing.T) {
	low, high, confidence := medianInterval([]float64{3, 1, 2})
	if low != 1 || high != 3 || confidence != 0.75 {
		t.Errorf("got %v to %v with %v, want 1 to 3 with 0.75", low, high, confidence)
	}
}

func TestQuantilesInterpolate(t *testing.T) {
	samples := []float64{40, 10, 30, 20}
	for _, tt := range []struct{ q, want float64 }{{0, 10}, {0.5, 25}, {0.75, 32.5}, {1, 40}} {
		if got := quantile(samples, tt.q); got != tt.want {
			t.Errorf("quantile %v of %v is %v, want %v", tt.q, samples, got, tt.want)
		}
	}
	if got := spread(samples); got != 15.0/25 {
		t.Errorf("spread is %v, want 0.6", got)
	}
	if !math.IsNaN(median(nil)) {
		t.Error("the median of nothing is a number")
	}
}
