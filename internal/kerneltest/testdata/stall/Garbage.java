// Keeps what clients sent in a list that grows, in a heap that is too small.
import java.net.*;
import java.util.*;

public class Garbage {
    static final List<Object> history = new ArrayList<>();

    static void remember(Socket client) {
        for (int i = 0; i < 5_000_000; i++) {
            Map<String, Object> entry = new HashMap<>();
            entry.put("client", client.getPort() + "/" + i);
            try {
                history.add(entry);
                if (i % 8 == 0) history.add(new byte[256]);
            } catch (OutOfMemoryError e) {
                for (int n = 0; n < 100; n++) history.remove(history.size() - 1);
            }
        }
    }

    public static void main(String[] args) throws Exception {
        ServerSocket server = new ServerSocket(Integer.parseInt(args[0]), 50, InetAddress.getLoopbackAddress());
        System.out.println("ready");
        while (true) {
            try (Socket client = server.accept()) {
                remember(client);
            } catch (OutOfMemoryError e) {
                history.subList(0, history.size() / 50).clear();
            }
        }
    }
}
