// Package erasure computes the parity chunks of a block, and any chunk of it
// from enough others.
//
// With k data and m parity chunks, k > m >= 1, any k of the k+m give back all
// the others. The code is systematic Reed-Solomon over GF(2^8) with polynomial
// x^8+x^4+x^3+x^2+1. Byte b of parity chunk i is
//
//	sum over data chunks j of  data[j][b] / (i xor j)     i from k to k+m-1
//
// a Cauchy matrix, of which every square part can be inverted. The formula is
// the truth on disk: New compares the library's bytes with it, and refuses to
// go on where they differ.
//
// Byte b of every chunk depends on byte b of the others only. So a range of a
// chunk is decoded from the same range of k others, whatever its length.
//
// # Two libraries
//
// On amd64 the work is done by templexxx/reedsolomon, elsewhere by
// klauspost/reedsolomon, because the former has no vector code for arm64. A
// test proves that both give the same bytes. The build tag klauspost chooses
// the latter on amd64 too, to run this package's tests on it:
//
//	go test -tags klauspost ./pkg/erasure
//
// Decoding does not use the libraries' own way, which also computes chunks
// that nobody asked for: what is wanted is a matrix times what is at hand, and
// multiplying by a matrix is what their encoders do. The matrix comes from
// letting the library reconstruct unit vectors.
package erasure
