# What the guests of the benchmark run: they answer for the far end's address, and say so.
ip addr add 10.9.0.2/24 dev eth0
ip link set eth0 up
case ${bench-} in
  tcp)
    iperf3 -s > /dev/null 2>&1 &
    until netstat -ltn | grep -q :5201; do usleep 50000; done
    ;;
esac
echo ready
while :; do sleep 3600; done
