"""What the compiled CPU kernels share: vectors, their functions, compilation, threads, layouts."""
