// A thread a client; all need one monitor, and so does the thread that accepts.
import java.net.*;
import java.util.*;

public class Synchronized {
    static final Map<Integer, Socket> sessions = new HashMap<>();

    static void cleanUp() throws Exception {
        synchronized (sessions) {
            while (!sessions.isEmpty()) Thread.sleep(1000); // until they all left: they cannot
        }
    }

    public static void main(String[] args) throws Exception {
        ServerSocket server = new ServerSocket(Integer.parseInt(args[0]), 50, InetAddress.getLoopbackAddress());
        System.out.println("ready");
        for (int n = 0;; n++) {
            Socket client = server.accept();
            synchronized (sessions) {
                sessions.put(n, client);
            }
            if (n == 0) {
                Thread cleaner = new Thread(() -> {
                    try { cleanUp(); } catch (Exception e) { throw new RuntimeException(e); }
                }, "cleaner");
                cleaner.start();
                Thread.sleep(200);
            }
        }
    }
}
