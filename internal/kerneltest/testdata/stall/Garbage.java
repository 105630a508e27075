// A cache that fills the heap, so that whatever a request allocates is paid for
// with a collection of all.
import java.net.*;
import java.util.*;

public class Garbage {
    static final List<Object> cache = new ArrayList<>(1 << 18);

    static void fill() {
        Runtime r = Runtime.getRuntime();
        while (r.maxMemory() - r.totalMemory() + r.freeMemory() > 3 << 20) {
            Map<String, Object> entry = new HashMap<>();
            entry.put("key" + cache.size(), new byte[64]);
            cache.add(entry);
            if (cache.size() % 4096 == 0) System.gc();
        }
    }

    static int render(Socket client) {
        int sum = 0;
        for (long i = 0; i < 4_000_000_000L; i++) {
            try {
                byte[] page = new byte[16 << 10];
                page[(int) (i % page.length)] = 1;
                List<Object> parts = new LinkedList<>();
                for (int n = 0; n < 64; n++) parts.add("part " + n);
                sum += page.length + parts.size();
            } catch (OutOfMemoryError e) {
                cache.subList(cache.size() - 10, cache.size()).clear();
            }
        }
        return sum;
    }

    public static void main(String[] args) throws Exception {
        ServerSocket server = new ServerSocket(Integer.parseInt(args[0]), 50, InetAddress.getLoopbackAddress());
        fill();
        System.out.println("ready");
        while (true) {
            try (Socket client = server.accept()) {
                client.getOutputStream().write(render(client));
            }
        }
    }
}
